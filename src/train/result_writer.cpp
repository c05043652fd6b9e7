#include "train/result_writer.h"

#include <filesystem>
#include <set>

#include "base/error.h"
#include "formats/number_conversion.h"
#include "formats/output_file.h"
#include "formats/safetensors_writer.h"
#include "formats/text_file.h"
#include "train/weight_loader.h"

namespace plimsoll {
namespace {

namespace fs = std::filesystem;

// Writes f32 tensors in the order of the export phase, narrowed piece by piece through the staging buffer.
class ResultHost : public HostServices {
 public:
  ResultHost(const std::string& path, const std::vector<SafetensorsOutput>& entries, DType dtype) : writer_(path, entries), dtype_(dtype) {}

  void save(const std::string&, const Value&, std::span<const std::byte> data, std::span<std::byte> staging) override {
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
  void finish() { writer_.finish(); }

 private:
  SafetensorsWriter writer_;
  DType dtype_;
};

std::string make_folder(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) throw world_error(path, "cannot be made", "check the folder and its permissions", error.value());
  return path;
}

// Beside the weights: what makes the folder a model that others load.
void copy_companions(const ModelFiles& model, const std::string& folder) {
  for (const std::string& path : {model.tokenizer_json, model.tokenizer_config_json, model.generation_config_json, model.chat_template_jinja})
    if (!path.empty()) write_file_atomically(folder + "/" + fs::path(path).filename().string(), read_text_file(path));
}

}  // namespace

std::string write_result_files(const std::string& out, const RunSources& sources, const TrainPlan& plan, TrainSession& session) {
  const bool full = sources.recipe.method == Method::full;
  const std::string folder = make_folder(out + (full ? "/model" : "/adapter"));
  const DType dtype = full ? sources.recipe.precision : DType::f32;
  std::vector<SafetensorsOutput> entries;
  for (const TrainedParameter& parameter : plan.program.trained) entries.push_back({parameter.name, dtype, parameter.shape});
  ResultHost host(folder + (full ? "/model.safetensors" : "/adapter_model.safetensors"), entries, dtype);
  session.state().host = &host;
  session.phase(phase_names::kExport).run(session.state());
  session.state().host = nullptr;
  host.finish();
  if (full) {
    write_file_atomically(folder + "/config.json", write_hf_config(sources.model.config, dtype));
    copy_companions(sources.model, folder);
    return folder;
  }
  PeftConfig config;
  if (sources.adapter.files) config = sources.adapter.files->config;
  config.rank = sources.recipe.rank;
  config.alpha = sources.recipe.alpha;
  config.rslora = sources.recipe.rslora;
  config.base_model = sources.recipe.model;
  if (!sources.adapter.files) {
    std::set<std::string> names;
    for (const LoraModule& module : plan.program.lora) names.insert(module.path.substr(module.path.rfind('.') + 1));
    config.target_modules.assign(names.begin(), names.end());
  }
  write_file_atomically(folder + "/adapter_config.json", write_peft_config(config));
  return folder;
}

}  // namespace plimsoll
