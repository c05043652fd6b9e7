// A JSONL file: lines, JSON, every shape of rows, with and without a chat template.
#include "fuzz/data_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace plimsoll;
  static const ChatTemplate source("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}");
  for (const auto loss_on : {LossOn::all, LossOn::assistant}) {
    DatasetOptions options = fuzz_options();
    options.loss_on = loss_on;
    options.chat_template = &source;
    read_as_file(data, size, ".jsonl", options);
  }
  return 0;
}
