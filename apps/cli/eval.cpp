#include <fmt/format.h>

#include <memory>

#include "base/text.h"
#include "cli/arguments/common_arguments.h"
#include "cli/arguments/recipe_options.h"
#include "cli/commands.h"
#include "cli/text/output.h"
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

Recipe recipe_of(const EvalOptions& o) {
  Recipe recipe;
  recipe.shuffle = false;
  if (!o.quant.empty() && o.quant != "none") recipe.method = Method::qlora;
  return recipe_of_texts(recipe, {{"model", {o.model}},
                                  {"data", o.data},
                                  {"field", o.field},
                                  {"adapter", {o.adapter}},
                                  {"data-shape", {o.data_shape}},
                                  {"text-split", {o.text_split}},
                                  {"bad-rows", {o.bad_rows}},
                                  {"overlong", {o.overlong}},
                                  {"seq-len", {o.seq_len}},
                                  {"packing", {o.packing}},
                                  {"loss-on", {o.loss_on}},
                                  {"precision", {o.precision}},
                                  {"quant", {o.quant}},
                                  {"threads", {o.threads}},
                                  {"micro-batch", {o.micro_batch}},
                                  {"memory", {o.memory}}});
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
  return {.name = "eval",
          .summary = "mean negative log-likelihood and perplexity on a data file",
          .examples = {"plimsoll eval SmolLM2-135M-Instruct.gguf --data held_out.jsonl",
                       "plimsoll eval model/ --adapter run/adapter --data held_out.jsonl --loss-on assistant --json"},
          .arguments = {model_argument(options->model),
                        {.name = "--data",
                         .value_name = "FILE…",
                         .help = "data files: .jsonl, .json, .csv, .tsv or .txt, also .gz and .zst",
                         .target = &options->data,
                         .required = true},
                        adapter_argument(options->adapter),
                        recipe_argument("--data-shape", options->data_shape),
                        recipe_argument("--field", options->field),
                        recipe_argument("--text-split", options->text_split),
                        recipe_argument("--bad-rows", options->bad_rows),
                        recipe_argument("--overlong", options->overlong),
                        recipe_argument("--seq-len", options->seq_len),
                        recipe_argument("--packing", options->packing),
                        recipe_argument("--loss-on", options->loss_on),
                        recipe_argument("--precision", options->precision),
                        quant_argument(options->quant),
                        recipe_argument("--micro-batch", options->micro_batch),
                        recipe_argument("--memory", options->memory),
                        recipe_argument("--threads", options->threads)},
          .json = &options->json,
          .run = [options] { return run_eval(*options); }};
}

}  // namespace plimsoll::cli
