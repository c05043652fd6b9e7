#include "formats/model_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/error.h"
#include "config/json_fields.h"
#include "config/quantization_config.h"
#include "formats/gguf/gguf_model.h"
#include "formats/packed/packed_tensor.h"
#include "formats/safetensors.h"
#include "formats/text_file.h"

namespace plimsoll {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxConfigBytes = 4 * kMiB;

std::string path_if_exists(const std::string& folder, const char* name) {
  const std::string path = folder + "/" + name;
  return file_exists(path) ? path : "";
}

void find_neighbours(const std::string& folder, ModelFiles& out) {
  out.tokenizer_file = find_tokenizer_file(folder);
  out.tokenizer_config_json = path_if_exists(folder, "tokenizer_config.json");
  out.generation_config_json = path_if_exists(folder, "generation_config.json");
  out.chat_template_jinja = path_if_exists(folder, "chat_template.jinja");
}

}  // namespace

std::string find_tokenizer_file(const std::string& folder) {
  for (const char* name : {"tokenizer.json", "tokenizer.model", "spiece.model"})
    if (std::string path = path_if_exists(folder, name); !path.empty()) return path;
  return "";
}

namespace {

// Weights of a folder: with an index, in one file, or all the folder's files together.
TensorIndex open_folder_weights(const std::string& folder) {
  if (const std::string index = path_if_exists(folder, "model.safetensors.index.json"); !index.empty()) {
    return open_sharded_safetensors(index);
  }
  if (const std::string single = path_if_exists(folder, "model.safetensors"); !single.empty())
    return open_safetensors(single);
  std::vector<std::string> paths;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    const bool other =
        name.starts_with("adapter_") || name.starts_with("consolidated");  // of PEFT, of the first release
    if (name.ends_with(".safetensors") && !other && file_exists(at->path().string()))
      paths.push_back(at->path().string());
  }
  std::sort(paths.begin(), paths.end());
  return open_safetensors_files(paths);
}

// Checkpoints of the base model alone leave its name out ("h.0.ln_1.weight" for "transformer.h.0.ln_1.weight").
void complete_names(const std::string& architecture, TensorIndex& tensors) {
  std::string_view base = "model.";
  if (architecture == "gpt2" || architecture == "bloom" || architecture == "falcon") base = "transformer.";
  if (architecture == "gpt_neox") base = "gpt_neox.";
  for (const TensorEntry& entry : tensors.entries)
    if (entry.name.starts_with(base)) return;
  for (TensorEntry& entry : tensors.entries)
    if (!entry.name.starts_with("lm_head.") && !entry.name.starts_with("embed_out."))
      entry.name = std::string(base) + entry.name;
  std::sort(tensors.entries.begin(), tensors.entries.end(),
            [](const TensorEntry& a, const TensorEntry& b) { return a.name < b.name; });
}

ModelFiles open_folder(const std::string& folder) {
  ModelFiles out;
  out.path = folder;
  const std::string config = path_if_exists(folder, "config.json");
  if (config.empty()) {
    const bool adapter = !path_if_exists(folder, "adapter_config.json").empty();
    throw caller_error(folder, adapter ? "is a PEFT adapter, not a model" : "has no config.json",
                       adapter ? "give the base model here, and this folder with --adapter"
                               : "give a Hugging Face folder, a .gguf file or a config.json");
  }
  const std::string text = read_text_file(config, kMaxConfigBytes);
  out.config = parse_hf_config(text, config);
  find_neighbours(folder, out);
  out.tensors = open_folder_weights(folder);
  if (const auto quantization = parse_quantization_config(parse_json_object(text, config), config))
    resolve_packed_tensors(out.tensors, *quantization);
  complete_names(out.config.architecture, out.tensors);
  out.has_weights = !out.tensors.entries.empty();
  out.kind = out.has_weights ? ModelFiles::Kind::hf_folder : ModelFiles::Kind::config_only;
  if (!out.has_weights && !path_if_exists(folder, "pytorch_model.bin").empty()) {
    throw caller_error(folder, "has its weights in pytorch_model.bin only, which can run code when it is opened",
                       "convert it with save_pretrained of transformers, which writes safetensors");
  }
  return out;
}

ModelFiles open_gguf(const std::string& path) {
  ModelFiles out;
  out.kind = ModelFiles::Kind::gguf;
  out.path = path;
  auto file = std::make_shared<InputFile>(path);
  out.gguf = read_gguf(*file);
  const ReadAt read = [&](int64_t offset, std::span<std::byte> bytes) { file->read(offset, bytes); };
  out.config = gguf_model_config(*out.gguf, read, path);
  out.tensors = gguf_tensor_index(*out.gguf, file, out.config);
  out.has_weights = true;
  return out;
}

bool begins_with_magic(const std::string& path) {
  const InputFile file(path);
  std::array<char, 4> magic{};
  if (file.size() >= 4) file.read(0, std::as_writable_bytes(std::span(magic)));
  return std::string_view(magic.data(), 4) == "GGUF";
}

ModelFiles open_file(const std::string& path) {
  if (begins_with_magic(path) || path.ends_with(".gguf")) return open_gguf(path);
  if (path.ends_with(".safetensors")) {
    throw caller_error(path, "is one weights file, which alone does not say what model it is",
                       "give its folder instead");
  }
  if (!path.ends_with(".json")) {
    throw caller_error(path, "is neither a .gguf file nor a config.json",
                       "give a Hugging Face folder, a .gguf file or a config.json");
  }
  ModelFiles out;
  out.path = path;
  out.config = parse_hf_config(read_text_file(path, kMaxConfigBytes), path);
  const size_t slash = path.rfind('/');
  find_neighbours(slash == std::string::npos ? "." : path.substr(0, slash), out);
  return out;
}

}  // namespace

ModelFiles open_model(const std::string& path) {
  if (path.empty())
    throw caller_error("model", "is not given", "give a Hugging Face folder, a .gguf file or a config.json");
  if (folder_exists(path)) return open_folder(path);
  std::error_code ignored;
  if (!fs::exists(path, ignored)) throw caller_error(path, "does not exist", "check the path");
  return open_file(path);
}

}  // namespace plimsoll
