// Reading safetensors: u64 header length, a JSON header {name: {dtype, shape, data_offsets}}, then the data without
// holes (https://github.com/huggingface/safetensors, "Format").
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "formats/tensor_index.h"

namespace plimsoll {

inline constexpr int64_t kMaxSafetensorsHeaderBytes = 100'000'000;
inline constexpr int64_t kMaxTensors = 1 << 20;

struct SafetensorsHeader {
  std::vector<TensorEntry> entries;  // in file order; `name` equals `stored_name`; offsets count from the file's start
  std::map<std::string, std::string> metadata;
};

// `json` is the header without its length; `file_bytes` the size of the whole file. Checks that every entry's size
// follows from its dtype and shape and that the entries cover the data exactly. `source` names the file in errors.
// Throws a caller Error.
SafetensorsHeader parse_safetensors_header(std::string_view json, int64_t file_bytes, std::string_view source);

// All tensors of one file. `metadata` may be null.
TensorIndex open_safetensors(const std::string& path, std::map<std::string, std::string>* metadata = nullptr);

// All tensors of a sharded model: `index_path` is a model.safetensors.index.json; its shards lie in the same folder.
// Every tensor that it lists must be in the shard that it names; a shard's other tensors are left out.
TensorIndex open_sharded_safetensors(const std::string& index_path);

// All tensors of several files without an index; a name in two of them is an error.
TensorIndex open_safetensors_files(const std::vector<std::string>& paths);

}  // namespace plimsoll
