#include <fmt/format.h>

#include <memory>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "config/recipe/recipe_fields.h"
#include "train/evaluate.h"

namespace plimsoll::cli {
namespace {

struct EvalOptions {
  std::string model, adapter;
  std::vector<std::string> data, field;
  std::string data_shape, text_split, bad_rows, overlong, seq_len, packing, loss_on, precision, quant, threads,
      micro_batch, memory;
  bool json = false;
};

// The recipe's own rows check these, so that both commands say the same.
Recipe recipe_of(const EvalOptions& options) {
  Recipe recipe;
  recipe.shuffle = false;
  std::vector<RecipeFlag> flags = {{find_recipe_field("model"), {options.model}},
                                   {find_recipe_field("data"), options.data},
                                   {find_recipe_field("field"), options.field}};
  const auto add = [&](std::string_view name, const std::string& text) {
    if (!text.empty()) flags.emplace_back(find_recipe_field(name), std::vector<std::string>{text});
  };
  add("adapter", options.adapter);
  add("data-shape", options.data_shape);
  add("text-split", options.text_split);
  add("bad-rows", options.bad_rows);
  add("overlong", options.overlong);
  add("seq-len", options.seq_len);
  add("packing", options.packing);
  add("loss-on", options.loss_on);
  add("precision", options.precision);
  add("quant", options.quant);
  if (!options.quant.empty() && options.quant != "none") recipe.method = Method::qlora;
  add("threads", options.threads);
  add("micro-batch", options.micro_batch);
  add("memory", options.memory);
  apply_recipe_flags(recipe, flags);
  validate_recipe(recipe);
  return recipe;
}

int run_eval(const EvalOptions& options) {
  const EvaluateReport report = run_evaluation(recipe_of(options));
  if (options.json) {
    Json json;
    json["loss"] = report.loss;
    json["perplexity"] = report.perplexity;
    json["tokens"] = report.tokens;
    json["peak_resident_bytes"] = report.peak_resident_bytes;
    write_json(json);
  } else {
    write_page(fmt::format("loss {:.4f}, perplexity {:.2f} over {} tokens\n", report.loss, report.perplexity,
                           format_thousands(report.tokens)));
  }
  return 0;
}

}  // namespace

Command eval_command() {
  auto options = std::make_shared<EvalOptions>();
  const auto recipe_argument = [](std::string_view flag, auto& target) {
    const RecipeField& field = *find_recipe_field(flag.substr(2));
    return Argument{.name = flag, .value_name = field.value_name, .help = field.help, .target = &target};
  };
  return {.name = "eval",
          .summary = "mean negative log-likelihood and perplexity on a data file",
          .examples = {"plimsoll eval SmolLM2-135M-Instruct.gguf --data held_out.jsonl",
                       "plimsoll eval model/ --adapter run/adapter --data held_out.jsonl --loss-on assistant --json"},
          .arguments = {{.name = "MODEL",
                         .value_name = "MODEL",
                         .help = "Hugging Face folder, .gguf file or hub id org/name",
                         .target = &options->model,
                         .required = true},
                        {.name = "--data",
                         .value_name = "FILE…",
                         .help = "data files: .jsonl, .json, .csv, .tsv or .txt, also .gz and .zst",
                         .target = &options->data,
                         .required = true},
                        {.name = "--adapter",
                         .value_name = "DIR",
                         .help = "PEFT adapter to use with the model",
                         .target = &options->adapter},
                        recipe_argument("--data-shape", options->data_shape),
                        recipe_argument("--field", options->field),
                        recipe_argument("--text-split", options->text_split),
                        recipe_argument("--bad-rows", options->bad_rows),
                        recipe_argument("--overlong", options->overlong),
                        recipe_argument("--seq-len", options->seq_len),
                        recipe_argument("--packing", options->packing),
                        recipe_argument("--loss-on", options->loss_on),
                        recipe_argument("--precision", options->precision),
                        {.name = "--quant", .value_name = "TYPE", .help = kQuantHelp, .target = &options->quant},
                        recipe_argument("--micro-batch", options->micro_batch),
                        recipe_argument("--memory", options->memory),
                        recipe_argument("--threads", options->threads)},
          .json = &options->json,
          .run = [options] { return run_eval(*options); }};
}

}  // namespace plimsoll::cli
