#include "models/merge.h"

#include <fmt/format.h>

#include <memory>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "formats/gguf/gguf_file_type.h"

namespace plimsoll::cli {
namespace {

struct MergeCommandOptions {
  std::string model, adapter, out;
  std::string type = "bf16";
  bool json = false;
};

MergeOptions checked(const MergeCommandOptions& options) {
  const GgufFileType* type = find_gguf_file_type(options.type);
  if (type == nullptr) {
    std::vector<std::string_view> names;
    for (const GgufFileType& known : gguf_file_types()) names.push_back(known.name);
    const std::string_view near = nearest_name(options.type, names);
    throw caller_error("--type", fmt::format("'{}' is none of {}", one_line(options.type, 40), gguf_file_type_names()),
                       near.empty() ? "give one of these" : fmt::format("did you mean {}?", near));
  }
  if (is_block_type(type->base) && !options.out.ends_with(".gguf"))
    throw caller_error(
        "--type", fmt::format("{} exists in GGUF only, and '{}' is a folder", options.type, one_line(options.out, 80)),
        "give --out a name that ends in .gguf, or --type bf16");
  return {options.model, options.adapter, options.out, std::string(type->name)};
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
  return {
      .name = "merge",
      .summary = "fold an adapter into its model's weights",
      .examples = {"plimsoll merge SmolLM2-135M-Instruct.gguf --adapter run/adapter --out merged.gguf --type q4_k_m",
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
                     .help =
                         "of the weights written: f32, bf16, f16; in GGUF also q8_0, q6_k, q5_k_m, q4_k_m, … [bf16]",
                     .target = &options->type}},
      .json = &options->json,
      .run = [options] { return run_merge_command(*options); }};
}

}  // namespace plimsoll::cli
