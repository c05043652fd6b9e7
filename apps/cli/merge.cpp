#include "train/merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/output.h"

namespace plimsoll::cli {
namespace {

struct MergeCommandOptions {
  std::string model, adapter, out;
  std::string type = "bf16";
  bool json = false;
};

constexpr std::array<std::string_view, 4> kTypes = {"f32", "bf16", "f16", "q8_0"};

MergeOptions checked(const MergeCommandOptions& options) {
  if (std::find(kTypes.begin(), kTypes.end(), options.type) == kTypes.end()) {
    const std::string_view near = nearest_name(options.type, kTypes);
    throw caller_error("--type", fmt::format("'{}' is not f32, bf16, f16 or q8_0", one_line(options.type, 40)),
                       near.empty() ? "give one of these" : fmt::format("did you mean {}?", near));
  }
  const DType type = *dtype_from_name(options.type);
  if (is_block_type(type) && !options.out.ends_with(".gguf"))
    throw caller_error(
        "--type", fmt::format("{} exists in GGUF only, and '{}' is a folder", options.type, one_line(options.out, 80)),
        "give --out a name that ends in .gguf, or --type bf16");
  return {options.model, options.adapter, options.out, type};
}

int run_merge_command(const MergeCommandOptions& options) {
  if (options.adapter.empty()) throw caller_error("--adapter", "is empty", "give the folder of a PEFT adapter");
  run_merge(checked(options));
  if (options.json) write_json(Json{{"output", options.out}, {"type", options.type}});
  else write_result(options.out + "\n");
  return 0;
}

}  // namespace

Command merge_command() {
  auto options = std::make_shared<MergeCommandOptions>();
  return {.name = "merge",
          .summary = "fold an adapter into its model's weights",
          .examples = {"plimsoll merge SmolLM2-135M-Instruct.gguf --adapter run/adapter --out merged.gguf --type q8_0",
                       "plimsoll merge model/ --adapter run/adapter --out merged/"},
          .arguments = {{.name = "MODEL",
                         .value_name = "MODEL",
                         .help = "the model that the adapter was trained on",
                         .target = &options->model,
                         .required = true},
                        {.name = "--adapter",
                         .value_name = "DIR",
                         .help = "PEFT adapter",
                         .target = &options->adapter,
                         .required = true},
                        {.name = "--out",
                         .value_name = "TARGET",
                         .help = "a .gguf file, or a folder in Hugging Face's layout",
                         .target = &options->out,
                         .required = true},
                        {.name = "--type",
                         .value_name = "TYPE",
                         .help = "of the weights written: f32, bf16, f16; q8_0 in GGUF [bf16]",
                         .target = &options->type}},
          .json = &options->json,
          .run = [options] { return run_merge_command(*options); }};
}

}  // namespace plimsoll::cli
