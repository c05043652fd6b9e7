// A CSV file, and the same bytes as TSV.
#include "fuzz/data_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace plimsoll;
  static const ChatTemplate source("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}");
  DatasetOptions options = fuzz_options();
  options.chat_template = &source;
  read_as_file(data, size, ".csv", options);
  read_as_file(data, size, ".tsv", options);
  return 0;
}
