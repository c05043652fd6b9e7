#include "train/train_data.h"

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "data/chat_template.h"
#include "data/model_text.h"
#include "data/token_offsets.h"

namespace plimsoll {
namespace {

struct TextTools {
  std::optional<Tokenizer> tokenizer;
  std::optional<ChatTemplate> chat_template;
  DatasetOptions options;
};

TextTools open_text_tools(const ModelFiles& model, const Recipe& recipe) {
  TextTools tools;
  const TextFiles files = text_files_of(model);
  if (files.has_tokenizer()) tools.tokenizer.emplace(load_model_tokenizer(files));
  if (const auto found = find_chat_template(files)) tools.chat_template.emplace(found->text, found->name);
  const SpecialTexts special = special_texts(files, tools.tokenizer ? &*tools.tokenizer : nullptr);
  DatasetOptions& options = tools.options;
  options.seq_len = recipe.seq_len;
  options.shape = recipe.data_shape;
  options.fields = recipe.field;
  options.text_split = recipe.text_split;
  options.bad_rows = recipe.bad_rows;
  options.overlong = recipe.overlong;
  options.loss_on = recipe.loss_on;
  options.vocab_size = model.config.vocab_size;
  if (!special.bos.empty()) options.bos_token = special.bos;
  if (!special.eos.empty()) options.eos_token = special.eos;
  return tools;
}

// Callbacks point into `tools`, so they are bound when it has its place.
void bind(TextTools& tools) {
  if (tools.chat_template) tools.options.chat_template = &*tools.chat_template;
  if (!tools.tokenizer) {
    tools.options.encode = [](std::string_view, bool) -> std::vector<int32_t> {
      throw caller_error("the model", "has no tokenizer, which rows of text need",
                         "give rows of input_ids; or a folder with tokenizer.json, or a .gguf made from one");
    };
    return;
  }
  const Tokenizer& tokenizer = *tools.tokenizer;
  tools.options.encode = [&tokenizer](std::string_view text, bool add_special) {
    return tokenizer.encode(text, add_special);
  };
  tools.options.encode_with_offsets = [&tokenizer](std::string_view text, bool add_special) {
    return encode_with_offsets(tokenizer, text, add_special);
  };
  if (const int32_t eos = tokenizer.special_ids().eos; eos >= 0) tools.options.eos_token_id = eos;
}

TokenizedDataset read_files(TextTools& tools, const std::vector<std::string>& files, int64_t seq_len) {
  TokenizedDataset dataset = TokenizedDataset::from_files(files, tools.options);
  const DatasetReport& report = dataset.report();
  log_note(describe_files(report));
  log_note(to_string(report, seq_len));
  if (report.prompts_cut > 0) log_warning(describe_cut_prompts(report));
  for (const DatasetReport::Bad& bad : report.first_bad)
    log_warning("left out: " + one_line(bad.place) + ": " + one_line(bad.problem));
  if (dataset.size() == 0) throw caller_error(files.front(), "has no row to learn from", "check the file");
  return dataset;
}

}  // namespace

int32_t pad_id_of(const ModelConfig& config) {
  const int64_t id = config.pad_token_id.value_or(config.eos_token_ids.empty() ? 0 : config.eos_token_ids.front());
  return id >= 0 && id < config.vocab_size ? static_cast<int32_t>(id) : 0;
}

TrainData open_train_data(const ModelFiles& model, const Recipe& recipe) {
  TextTools tools = open_text_tools(model, recipe);
  bind(tools);
  TrainData data{read_files(tools, recipe.data, recipe.seq_len), {}, pad_id_of(model.config)};
  if (!recipe.eval_data.empty()) data.eval.emplace(read_files(tools, {recipe.eval_data}, recipe.seq_len));
  return data;
}

TokenizedDataset open_dataset(const ModelFiles& model, const Recipe& recipe, const std::vector<std::string>& files,
                              const std::function<void(const TokenizedRow&)>& on_row) {
  TextTools tools = open_text_tools(model, recipe);
  bind(tools);
  if (!on_row) return read_files(tools, files, recipe.seq_len);
  tools.options.on_row = on_row;
  tools.options.take_preferences = true;
  return TokenizedDataset::from_files(files, tools.options);
}

}  // namespace plimsoll
