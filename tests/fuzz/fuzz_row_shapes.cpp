// Rows of all shapes as JSONL, under options that the first byte chooses: shape, loss, columns, long rows, a template.
#include "fuzz/data_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace plimsoll;
  static const ChatTemplate source(
      "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% "
      "endif "
      "%}");
  if (size == 0) return 0;
  const unsigned choice = data[0];
  DatasetOptions options = fuzz_options();
  options.loss_on = choice % 2 == 0 ? LossOn::all : LossOn::assistant;
  if (choice / 2 % 2 == 0) options.chat_template = &source;
  options.overlong = static_cast<Overlong>(choice / 4 % 3);
  options.take_preferences = choice / 12 % 2 == 0;
  if (choice / 24 % 2 == 1) options.fields = {"messages=chosen", "completion=output"};
  options.shape = static_cast<DataShape>(choice / 48 % kDataShapeCount);
  read_as_file(data + 1, size - 1, ".jsonl", options);
  return 0;
}
