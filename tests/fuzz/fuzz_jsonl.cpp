// A data file: lines, JSON, the shapes of rows, tokenized by single bytes.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/error.h"
#include "data/dataset.h"

namespace {

plimsoll::EncodedText encode(std::string_view text, bool add_special) {
  plimsoll::EncodedText out;
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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const plimsoll::ChatTemplate source("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}");
  char path[] = "/tmp/plimsoll-fuzz-XXXXXX";
  const int fd = ::mkstemp(path);
  if (fd < 0 || ::write(fd, data, size) != static_cast<ssize_t>(size)) std::abort();
  ::close(fd);
  const std::string name = path;
  for (const auto loss_on : {plimsoll::LossOn::all, plimsoll::LossOn::assistant}) {
    plimsoll::DatasetOptions options;
    options.seq_len = 16;
    options.loss_on = loss_on;
    options.vocab_size = 259;
    options.eos_token_id = 2;
    options.encode = [](std::string_view text, bool add_special) { return encode(text, add_special).ids; };
    options.encode_with_offsets = encode;
    options.chat_template = &source;
    try {
      const auto dataset = plimsoll::TokenizedDataset::from_files({&name, 1}, options);
      for (int64_t i = 0; i < dataset.size(); ++i) {
        std::vector<int32_t> ids(static_cast<size_t>(dataset.length(i))), labels(ids.size());
        dataset.read(i, ids, labels);
      }
    } catch (const plimsoll::Error& error) {
      if (error.kind() == plimsoll::ErrorKind::internal) throw;
    }
  }
  ::unlink(path);
  return 0;
}
