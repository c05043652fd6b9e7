#include "train/model_folder.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "formats/number_conversion.h"
#include "formats/output_file.h"
#include "formats/text_file.h"

namespace plimsoll {

namespace fs = std::filesystem;

void SafetensorsTarget::save(const std::string&, const Value&, std::span<const std::byte> data, std::span<std::byte> staging) {
  if (dtype_ == DType::f32) {
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

std::string make_folder(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) throw world_error(path, "cannot be made", "check the folder and its permissions", error.value());
  return path;
}

void write_model_companions(const ModelFiles& model, DType dtype, const std::string& folder) {
  write_file_atomically(folder + "/config.json", write_hf_config(model.config, dtype));
  for (const std::string& path : {model.tokenizer_json, model.tokenizer_config_json, model.generation_config_json, model.chat_template_jinja})
    if (!path.empty()) write_file_atomically(folder + "/" + fs::path(path).filename().string(), read_text_file(path));
}

}  // namespace plimsoll
