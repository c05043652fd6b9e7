// What the fuzzers of data files share: the input as a file with a name, read and tokenized by single bytes.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/error.h"
#include "data/dataset.h"

namespace plimsoll {

inline EncodedText encode_bytes(std::string_view text, bool add_special) {
  EncodedText out;
  if (add_special) {
    out.ids.push_back(1);
    out.byte_offsets.emplace_back(0, 0);
  }
  for (int64_t i = 0; i < static_cast<int64_t>(text.size()); ++i) {
    out.ids.push_back(static_cast<unsigned char>(text[static_cast<size_t>(i)]) + 3);
    out.byte_offsets.emplace_back(i, i + 1);
  }
  return out;
}

inline DatasetOptions fuzz_options() {
  DatasetOptions options;
  options.seq_len = 16;
  options.vocab_size = 259;
  options.eos_token_id = 2;
  options.encode = [](std::string_view text, bool add_special) { return encode_bytes(text, add_special).ids; };
  options.encode_with_offsets = encode_bytes;
  options.bad_rows = BadRows::skip;
  return options;
}

// Reads `data` as a file whose name ends in `ending`, and every example of it. Only our own bugs come out.
inline void read_as_file(const uint8_t* data, size_t size, const std::string& ending, const DatasetOptions& options) {
  std::string path = "/tmp/plimsoll-fuzz-XXXXXX" + ending;
  const int fd = ::mkstemps(path.data(), static_cast<int>(ending.size()));
  if (fd < 0 || ::write(fd, data, size) != static_cast<ssize_t>(size)) std::abort();
  ::close(fd);
  try {
    const auto dataset = TokenizedDataset::from_files({&path, 1}, options);
    for (int64_t i = 0; i < dataset.size(); ++i) {
      std::vector<int32_t> ids(static_cast<size_t>(dataset.length(i))), labels(ids.size());
      dataset.read(i, ids, labels);
      if (ids.empty() || static_cast<int64_t>(ids.size()) > options.seq_len) std::abort();
    }
  } catch (const Error& error) {
    ::unlink(path.c_str());
    if (error.kind() == ErrorKind::internal) throw;
  }
  ::unlink(path.c_str());
}

}  // namespace plimsoll
