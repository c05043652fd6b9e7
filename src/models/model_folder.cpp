#include "models/model_folder.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "data/model_text.h"
#include "data/tokenizer/files/tokenizer_json_write.h"
#include "formats/number_conversion.h"
#include "formats/output_file.h"
#include "formats/text_file.h"

namespace plimsoll {

namespace fs = std::filesystem;

namespace {

// The ids where a generation stops, as config.json has them: generate() of transformers looks here first.
std::string generation_config_of(const ModelConfig& config) {
  nlohmann::ordered_json out = {{"_from_model_config", true}};
  if (config.bos_token_id) out["bos_token_id"] = *config.bos_token_id;
  if (config.eos_token_ids.size() == 1) out["eos_token_id"] = config.eos_token_ids[0];
  else if (!config.eos_token_ids.empty()) out["eos_token_id"] = config.eos_token_ids;
  if (config.pad_token_id) out["pad_token_id"] = *config.pad_token_id;
  return out.dump(2) + "\n";
}

void write_tokenizer_files(const GgufFile& gguf, const ModelFiles& model, const std::string& folder) {
  GgufTokenTables tables;
  const GgufVocabulary vocabulary = gguf_vocabulary(gguf, tables);
  try {
    OutputFile file(folder + "/tokenizer.json");
    write_tokenizer_json(vocabulary, model.path, [&](std::string_view text) { file.write(text); });
    const std::string config = write_tokenizer_config_json(vocabulary, model.path, model.config.context_length);
    file.finish();
    write_file_atomically(folder + "/tokenizer_config.json", config);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::caller) throw;
    log_warning(folder + " gets no tokenizer: " + error.what());
  }
}

void write_gguf_companions(const GgufFile& gguf, const ModelFiles& model, const std::string& folder) {
  write_file_atomically(folder + "/generation_config.json", generation_config_of(model.config));
  if (has_vocabulary(gguf)) write_tokenizer_files(gguf, model, folder);
  const GgufValue* chat = gguf.find("tokenizer.chat_template");
  if (chat != nullptr && chat->text() != nullptr) write_file_atomically(folder + "/chat_template.jinja", *chat->text());
}

}  // namespace

void SafetensorsTarget::save(const std::string& tensor, const Value& value, std::span<const std::byte> data,
                             std::span<std::byte> staging) {
  PLIMSOLL_CHECK(value.dtype == dtype_ || value.dtype == DType::f32, tensor + " has another type");
  if (value.dtype == dtype_) {
    writer_.write(data);
    return;
  }
  const std::span values(reinterpret_cast<const float*>(data.data()), data.size() / sizeof(float));
  const auto piece = static_cast<size_t>(static_cast<int64_t>(staging.size()) / dtype_info(dtype_).block_bytes);
  for (size_t first = 0; first < values.size(); first += piece) {
    const auto part = values.subspan(first, std::min(piece, values.size() - first));
    encode_values(dtype_, part, staging.data());
    writer_.write(staging.first(static_cast<size_t>(dtype_bytes(dtype_, static_cast<int64_t>(part.size())))));
  }
}

NewFolder::NewFolder(const std::string& path) : path_(path), made_(!folder_exists(path)) {
  make_folder(path);
  if (made_) signal_.emplace(path);
}

NewFolder::~NewFolder() {
  std::error_code error;
  if (made_) fs::remove(path_, error);  // fails where something is in it
}

void require_folder_place(const std::string& path) {
  std::error_code error;
  for (fs::path place(path); !place.empty(); place = place.parent_path()) {
    const fs::file_status status = fs::status(place, error);
    if (fs::exists(status) && !fs::is_directory(status))
      throw caller_error(one_line(place.string(), 200), "is a file, and a folder is to be made there",
                         "give another name, or remove it first");
    if (fs::exists(status) || place == place.parent_path()) return;
  }
}

std::string make_folder(const std::string& path) {
  require_folder_place(path);
  std::error_code error;
  fs::create_directories(path, error);
  if (error) throw world_error(path, "cannot be made", "check the folder and its permissions", error.value());
  return path;
}

namespace {

std::string config_of(const ModelFiles& model, DType dtype, const QuantizationConfig* quantization) {
  const std::string text = write_hf_config(model.config, dtype);
  if (quantization == nullptr) return text;
  nlohmann::json config = nlohmann::json::parse(text);
  config["quantization_config"] = write_quantization_config(*quantization);
  return config.dump(2) + "\n";
}

}  // namespace

void write_model_companions(const ModelFiles& model, DType dtype, const std::string& folder,
                            const QuantizationConfig* quantization) {
  if (model.gguf) {
    write_gguf_companions(*model.gguf, model, folder);
  } else if (model.kind == ModelFiles::Kind::gguf) {
    const InputFile file(model.path);
    write_gguf_companions(read_gguf(file), model, folder);
  }
  for (const std::string& path :
       {model.tokenizer_file, model.tokenizer_config_json, model.generation_config_json, model.chat_template_jinja})
    if (!path.empty()) write_file_atomically(folder + "/" + fs::path(path).filename().string(), read_text_file(path));
  write_file_atomically(folder + "/config.json", config_of(model, dtype, quantization));
}

}  // namespace plimsoll
