// The tokenizer and the chat template that belong to a model, wherever its folder or file keeps them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/chat_template.h"
#include "data/tokenizer/files/tokenizer_gguf.h"
#include "data/tokenizer/tokenizer.h"
#include "formats/gguf/gguf.h"
#include "formats/model_files.h"

namespace plimsoll {

// False also for "no_vocab", which is how llama.cpp marks a model without one.
bool has_vocabulary(const GgufFile& gguf);

// Paths are empty where there is no such file.
struct TextFiles {
  std::string source;  // what errors call it
  std::string tokenizer_file, tokenizer_config_json, chat_template_jinja;
  std::optional<GgufFile> gguf;

  bool has_tokenizer() const { return gguf ? has_vocabulary(*gguf) : !tokenizer_file.empty(); }
};

// As open_model_source, but needs no config.json: a folder, a tokenizer.json, a tokenizer.model, a config.json (the
// folder beside it), a .gguf file or a hub id. Throws as find_model_path.
TextFiles find_text_files(const std::string& model);
TextFiles text_files_of(const ModelFiles& files);

// Throws a caller Error when there is no tokenizer, or one that cannot be read.
Tokenizer load_model_tokenizer(const TextFiles& files);

// As pick_chat_template; nullopt: the model has none.
std::optional<ChatTemplateText> find_chat_template(const TextFiles& files, bool with_tools = false);

// The tokenizer of a GGUF file's metadata. The result views into both arguments.
struct GgufTokenTables {
  std::vector<int32_t> types;
  std::vector<float> scores;
};
GgufVocabulary gguf_vocabulary(const GgufFile& gguf, GgufTokenTables& tables);

// The texts of BOS and EOS as tokenizer_config.json names them, else as the tokenizer's ids say; empty: none.
// `tokenizer` may be nullptr.
struct SpecialTexts {
  std::string bos, eos;
};
SpecialTexts special_texts(const TextFiles& files, const Tokenizer* tokenizer);

}  // namespace plimsoll
