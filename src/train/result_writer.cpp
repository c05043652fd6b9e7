#include "train/result_writer.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "formats/output_file.h"
#include "models/model_folder.h"

namespace plimsoll {
std::string write_result_files(const std::string& out, const RunSources& sources, const TrainPlan& plan,
                               TrainSession& session) {
  const bool full = !trains_adapter(sources.recipe.method);
  const std::string folder = make_folder(out + (full ? "/model" : "/adapter"));
  const DType dtype = full ? sources.recipe.precision : DType::f32;
  std::vector<SafetensorsOutput> entries;
  for (const TrainedParameter& parameter : plan.program.trained)
    entries.push_back({parameter.name, dtype, parameter.shape});
  for (const ParameterSpec& spec : plan.program.parameters)
    if (full && spec.part == ParameterPart::buffer) entries.push_back({spec.name, dtype, spec.shape});
  SafetensorsTarget host(folder + (full ? "/model.safetensors" : "/adapter_model.safetensors"), entries, dtype);
  session.state().host = &host;
  session.phase(phase_names::kExport).run(session.state());
  session.state().host = nullptr;
  host.finish();
  if (full) {
    write_model_companions(sources.model, dtype, folder);
    return folder;
  }
  PeftConfig config;
  if (sources.adapter.files) config = sources.adapter.files->config;
  config.rank = sources.recipe.rank;
  config.alpha = sources.recipe.alpha;
  config.rslora = sources.recipe.rslora;
  config.base_model = sources.recipe.model;
  config.dora = std::ranges::any_of(plan.program.lora, [](const LoraModule& module) { return module.dora; });
  config.dropout = sources.recipe.lora_dropout;
  if (!sources.adapter.files) {
    std::set<std::string> names;
    for (const LoraModule& module : plan.program.lora) {
      names.insert(module.path.substr(module.path.rfind('.') + 1));
      config.fan_in_fan_out = config.fan_in_fan_out || module.in_out;
    }
    config.target_modules.assign(names.begin(), names.end());
  }
  // PEFT joins adapters of an expert's gate and up under twice the rank, which changes what alpha / √rank says.
  const bool experts = std::any_of(plan.program.lora.begin(), plan.program.lora.end(), [](const LoraModule& module) {
    return module.path.find(".experts.") != std::string::npos;
  });
  if (experts && config.rslora && config.rank_pattern.empty() && config.alpha_pattern.empty()) {
    config.alpha *= std::sqrt(static_cast<double>(config.rank));
    config.rslora = false;
  }
  write_file_atomically(folder + "/adapter_config.json", write_peft_config(config));
  return folder;
}

}  // namespace plimsoll
