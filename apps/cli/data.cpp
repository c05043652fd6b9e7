#include <unistd.h>

#include <memory>

#include "cli/commands.h"
#include "cli/data_text.h"
#include "config/recipe/recipe_fields.h"
#include "train/data_survey.h"

namespace plimsoll::cli {
namespace {

struct DataOptions {
  std::vector<std::string> files, field;
  std::string model, seq_len, loss_on, data_shape, text_split, overlong, shuffle, seed;
  std::string bad_rows = "skip";
  bool json = false;
};

// The recipe's own rows check these, so that all commands say the same.
Recipe recipe_of(const DataOptions& options) {
  Recipe recipe;
  std::vector<RecipeFlag> flags = {{find_recipe_field("model"), {options.model}},
                                   {find_recipe_field("data"), options.files},
                                   {find_recipe_field("field"), options.field}};
  const auto add = [&](std::string_view name, const std::string& text) {
    if (!text.empty()) flags.emplace_back(find_recipe_field(name), std::vector<std::string>{text});
  };
  add("seq-len", options.seq_len);
  add("loss-on", options.loss_on);
  add("data-shape", options.data_shape);
  add("text-split", options.text_split);
  add("overlong", options.overlong);
  add("bad-rows", options.bad_rows);
  add("shuffle", options.shuffle);
  add("seed", options.seed);
  apply_recipe_flags(recipe, flags);
  validate_recipe(recipe);
  return recipe;
}

int run_data(const DataOptions& options) {
  const DataSurvey survey = survey_data(recipe_of(options));
  if (options.json) write_json(data_json(survey));
  else write_page(data_text(survey, inspect_terminal(STDOUT_FILENO)));
  return 0;
}

}  // namespace

Command data_command() {
  auto options = std::make_shared<DataOptions>();
  const auto recipe_argument = [](std::string_view flag, auto& target) {
    const RecipeField& field = *find_recipe_field(flag.substr(2));
    return Argument{.name = flag, .value_name = field.value_name, .help = field.help, .target = &target};
  };
  return {.name = "data",
          .summary = "what a data file holds, as the model would be trained on it",
          .examples = {"plimsoll data train.jsonl --model SmolLM2-135M-Instruct.gguf",
                       "plimsoll data part1.csv.gz part2.csv.gz --model model/ --field instruction=ask output=reply "
                       "--loss-on assistant --seq-len 1024 --json"},
          .arguments = {{.name = "FILE",
                         .value_name = "FILE…",
                         .help = "data files: .jsonl, .json, .csv, .tsv or .txt, also .gz and .zst",
                         .target = &options->files,
                         .required = true},
                        {.name = "--model",
                         .value_name = "MODEL",
                         .help = "model whose tokenizer and chat template are used; its weights are not needed",
                         .target = &options->model,
                         .required = true},
                        recipe_argument("--seq-len", options->seq_len),
                        recipe_argument("--loss-on", options->loss_on),
                        recipe_argument("--data-shape", options->data_shape),
                        recipe_argument("--field", options->field),
                        recipe_argument("--text-split", options->text_split),
                        recipe_argument("--overlong", options->overlong),
                        {.name = "--bad-rows",
                         .value_name = "fail|skip",
                         .help = "a row that cannot be used is shown and left out, or ends the command [skip]",
                         .target = &options->bad_rows},
                        recipe_argument("--shuffle", options->shuffle),
                        recipe_argument("--seed", options->seed)},
          .json = &options->json,
          .run = [options] { return run_data(*options); }};
}

}  // namespace plimsoll::cli
