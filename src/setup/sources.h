// The model and adapter that a run starts from, opened and checked.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "formats/peft.h"
#include "hub/model_source.h"
#include "passes/lora.h"

namespace plimsoll {

// A caller Error unless the model has weights.
void require_weights(const ModelFiles& files);

// As open_model_source, with weights.
ModelFiles open_runnable_model(const std::string& model);

struct AdapterSource {
  std::optional<PeftAdapter> files;  // none: no adapter
  std::vector<LoraModule> modules;

  const TensorIndex* tensors() const { return files ? &files->tensors : nullptr; }
};

// `folder` empty: no adapter.
AdapterSource open_adapter_source(const std::string& folder);

}  // namespace plimsoll
