#include "setup/sources.h"

#include "base/error.h"

namespace plimsoll {

void require_weights(const ModelFiles& files) {
  if (!files.has_weights)
    throw caller_error(files.path, "has a configuration but no weights",
                       "give a folder with *.safetensors, or a .gguf file; plan and inspect need no weights");
}

ModelFiles open_runnable_model(const std::string& model) {
  ModelFiles files = open_model_source(model, ModelNeed::weights);
  require_weights(files);
  return files;
}

AdapterSource open_adapter_source(const std::string& folder) {
  AdapterSource source;
  if (folder.empty()) return source;
  source.files = open_peft_adapter(folder);
  for (const PeftModule& module : source.files->modules)
    source.modules.push_back(
        {module.path, module.rank, static_cast<float>(module.scale), false, module.magnitude.has_value()});
  return source;
}

}  // namespace plimsoll
