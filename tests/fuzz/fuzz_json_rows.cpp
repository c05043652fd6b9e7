// A JSON document with rows, or a file whose kind its bytes must say; then the same as plain text, split in three ways.
#include "fuzz/data_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace plimsoll;
  static const ChatTemplate source("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}");
  DatasetOptions options = fuzz_options();
  options.chat_template = &source;
  read_as_file(data, size, ".json", options);
  read_as_file(data, size, "", options);
  for (const TextSplit split : {TextSplit::file, TextSplit::paragraph, TextSplit::line}) {
    options.text_split = split;
    read_as_file(data, size, ".txt", options);
  }
  return 0;
}
