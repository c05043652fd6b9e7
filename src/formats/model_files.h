// A model on this disk: a Hugging Face folder, a .gguf file or a bare config.json. What else a user can name as MODEL
// is found by hub/model_source.h.
#pragma once

#include <optional>
#include <string>

#include "config/model_config.h"
#include "formats/gguf/gguf.h"
#include "formats/tensor_index.h"

namespace plimsoll {

struct ModelFiles {
  enum class Kind { hf_folder, gguf, config_only };

  Kind kind = Kind::config_only;
  std::string path;  // as found: the folder or the file
  ModelConfig config;
  bool has_weights = false;
  TensorIndex tensors;           // empty without weights
  std::optional<GgufFile> gguf;  // structure and metadata of a GGUF file, its tokenizer among them
  // Paths of what a Hugging Face folder (or the folder of a config.json) has beside the weights; empty where absent.
  // tokenizer_file: tokenizer.json, else a SentencePiece file (tokenizer.model, spiece.model).
  std::string tokenizer_file, tokenizer_config_json, generation_config_json, chat_template_jinja;
};

// Opens and checks; reads no weights. A folder without weights is planned from its config alone. Throws a caller Error
// that says what was found instead.
ModelFiles open_model(const std::string& path);

// The file that a folder's tokenizer is read from, as above; empty when there is none.
std::string find_tokenizer_file(const std::string& folder);

}  // namespace plimsoll
