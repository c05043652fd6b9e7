// The buffers of a plan as CSV, for spreadsheets and scripts.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace plimsoll {

struct BufferRow {
  std::string name;          // of the value, "layers.12.mlp.swiglu"
  std::string category;      // "parameters", "activations", …
  std::string memory_space;  // "device", "host", …
  int64_t size_bytes = 0;
  int64_t offset = 0;  // in the arena of its memory space
  int32_t first = 0, last = 0;
  std::string phase;
};

// Writes the header `name,category,memory_space,size_bytes,offset,first,last,phase` and one line for each row to
// `sink`, in pieces. Fields with a comma, quote or line break are quoted as in RFC 4180; lines end with "\n".
void write_buffers_csv(std::span<const BufferRow> rows, const std::function<void(std::string_view)>& sink);

}  // namespace plimsoll
