#include "data/model_text.h"

#include "base/error.h"
#include "formats/text_file.h"
#include "hub/model_source.h"

namespace plimsoll {
namespace {

TextFiles files_in_folder(const std::string& folder, std::string source) {
  const auto path_of = [&](const char* name) {
    std::string path = (folder.empty() ? "." : folder) + "/" + name;
    return file_exists(path) ? path : std::string();
  };
  return {std::move(source),
          find_tokenizer_file(folder.empty() ? "." : folder),
          path_of("tokenizer_config.json"),
          path_of("chat_template.jinja"),
          {}};
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

TextColumn column_of(const GgufValue* value) {
  const GgufArray* array = value != nullptr ? value->array() : nullptr;
  if (array == nullptr || array->type != GgufType::text) return {};
  return {array->count, [array](int64_t i) { return array->texts[i]; }};
}

std::string text_of(const GgufFile& gguf, std::string_view key) {
  const GgufValue* value = gguf.find(key);
  const std::string* text = value != nullptr ? value->text() : nullptr;
  return text != nullptr ? *text : "";
}

std::optional<int64_t> integer_of(const GgufFile& gguf, std::string_view key) {
  const GgufValue* value = gguf.find(key);
  return value != nullptr ? value->integer() : std::nullopt;
}

std::optional<bool> boolean_of(const GgufFile& gguf, std::string_view key) {
  const GgufValue* value = gguf.find(key);
  return value != nullptr ? value->boolean() : std::nullopt;
}

template <typename Number>
std::vector<Number> numbers_of(const GgufFile& gguf, std::string_view key) {
  const GgufValue* value = gguf.find(key);
  const GgufArray* array = value != nullptr ? value->array() : nullptr;
  std::vector<Number> numbers;
  if (array == nullptr || array->type == GgufType::text || array->type == GgufType::array) return numbers;
  numbers.reserve(static_cast<size_t>(array->count));
  for (int64_t i = 0; i < array->count; ++i) numbers.push_back(static_cast<Number>(array->number(i)));
  return numbers;
}

}  // namespace

TextFiles find_text_files(const std::string& name) {
  const std::string model = find_model_path(name, ModelNeed::text);
  if (folder_exists(model)) return files_in_folder(model, model);
  if (file_exists(model)) {
    if (model.ends_with(".json") || model.ends_with(".model")) {
      TextFiles files = files_in_folder(folder_of(model), model);
      if (!model.ends_with("config.json")) files.tokenizer_file = model;
      return files;
    }
    const InputFile file(model);
    TextFiles files;
    files.source = model;
    files.gguf = read_gguf(file);
    return files;
  }
  throw caller_error(model, "is neither a folder nor a file", "give a Hugging Face folder, a .gguf file or org/name");
}

bool has_vocabulary(const GgufFile& gguf) {
  const GgufValue* model = gguf.find("tokenizer.ggml.model");
  return model != nullptr && (model->text() == nullptr || *model->text() != "no_vocab");
}

TextFiles text_files_of(const ModelFiles& files) {
  return {files.path, files.tokenizer_file, files.tokenizer_config_json, files.chat_template_jinja, files.gguf};
}

std::optional<ChatTemplateText> find_chat_template(const TextFiles& files, bool with_tools) {
  ChatTemplateSources sources{files.chat_template_jinja, files.tokenizer_config_json, {}};
  if (files.gguf)
    if (std::string text = text_of(*files.gguf, "tokenizer.chat_template"); !text.empty())
      sources.gguf = std::move(text);
  auto found = pick_chat_template(sources, with_tools);
  if (found && found->text.empty()) return std::nullopt;
  return found;
}

GgufVocabulary gguf_vocabulary(const GgufFile& gguf, GgufTokenTables& tables) {
  tables.types = numbers_of<int32_t>(gguf, "tokenizer.ggml.token_type");
  tables.scores = numbers_of<float>(gguf, "tokenizer.ggml.scores");
  GgufVocabulary vocabulary;
  vocabulary.model = text_of(gguf, "tokenizer.ggml.model");
  vocabulary.pre = text_of(gguf, "tokenizer.ggml.pre");
  vocabulary.tokens = column_of(gguf.find("tokenizer.ggml.tokens"));
  vocabulary.merges = column_of(gguf.find("tokenizer.ggml.merges"));
  vocabulary.token_types = tables.types;
  vocabulary.scores = tables.scores;
  vocabulary.bos_id = integer_of(gguf, "tokenizer.ggml.bos_token_id");
  vocabulary.eos_id = integer_of(gguf, "tokenizer.ggml.eos_token_id");
  vocabulary.pad_id = integer_of(gguf, "tokenizer.ggml.padding_token_id");
  vocabulary.unk_id = integer_of(gguf, "tokenizer.ggml.unknown_token_id");
  vocabulary.add_bos = boolean_of(gguf, "tokenizer.ggml.add_bos_token");
  vocabulary.add_eos = boolean_of(gguf, "tokenizer.ggml.add_eos_token");
  vocabulary.add_space_prefix = boolean_of(gguf, "tokenizer.ggml.add_space_prefix");
  return vocabulary;
}

Tokenizer load_model_tokenizer(const TextFiles& files) {
  if (!files.has_tokenizer())
    throw caller_error(files.source, "has no tokenizer",
                       files.gguf ? "make the file again from a folder that has the model's tokenizer.json, which goes "
                                    "into it; rows of input_ids need none"
                                  : "put the model's tokenizer.json or tokenizer.model into the folder");
  if (!files.gguf) return load_tokenizer_file(files.tokenizer_file);
  GgufTokenTables tables;
  return load_tokenizer_gguf(gguf_vocabulary(*files.gguf, tables), files.source);
}

SpecialTexts special_texts(const TextFiles& files, const Tokenizer* tokenizer) {
  SpecialTexts texts;
  if (!files.tokenizer_config_json.empty()) {
    const TokenizerConfig config =
        parse_tokenizer_config(read_text_file(files.tokenizer_config_json), files.tokenizer_config_json);
    texts = {config.bos_token, config.eos_token};
  }
  if (tokenizer != nullptr) {
    if (texts.bos.empty()) texts.bos = tokenizer->token_text(tokenizer->special_ids().bos);
    if (texts.eos.empty()) texts.eos = tokenizer->token_text(tokenizer->special_ids().eos);
  }
  return texts;
}

}  // namespace plimsoll
