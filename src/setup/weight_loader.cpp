#include "setup/weight_loader.h"

#include <algorithm>
#include <cmath>

#include "base/bytes.h"
#include "base/error.h"

namespace plimsoll {

std::string stored_name_of(const std::string& name) {
  constexpr std::string_view kMaster = "master.";
  return name.starts_with(kMaster) ? name.substr(kMaster.size()) : name;
}

int64_t load_staging_bytes(const TensorIndex& index) {
  int64_t bytes = 4 * kMiB;
  for (const TensorEntry& entry : index.entries) bytes = std::max(bytes, min_staging_bytes(entry));
  return bytes;
}

const TensorEntry& find_weight(const TensorIndex& index, const std::string& name, const Shape& shape) {
  const TensorEntry* entry = index.find(name);
  const std::string file = index.files.empty() ? "the model" : index.files.front()->path();
  if (entry == nullptr)
    throw caller_error(file, "has no tensor " + name, "check that config.json belongs to these weights");
  if (entry->shape != shape)
    throw caller_error(name,
                       "has shape " + to_string(entry->shape) + ", the configuration asks for " + to_string(shape),
                       "check that config.json belongs to these weights");
  return *entry;
}

void WeightLoader::load(const std::string& tensor, const Value& target, std::span<std::byte> out,
                        std::span<std::byte> staging) {
  const std::string name = stored_name_of(tensor);
  const bool of_adapter = adapter_ != nullptr && name.starts_with("base_model.");
  const TensorIndex& index = of_adapter ? *adapter_ : model_;
  if (of_adapter && index.find(name) != nullptr && index.find(name)->shape != target.shape)
    throw caller_error(
        name, "has shape " + to_string(index.find(name)->shape) + ", this model needs " + to_string(target.shape),
        "give the adapter's own base model");
  load_tensor(index, find_weight(index, name, target.shape), target.dtype, out, staging);
  if (!of_adapter || target.dtype != DType::f32) return;
  const std::span values(reinterpret_cast<const float*>(out.data()), out.size() / sizeof(float));
  if (!std::ranges::all_of(values, [](float value) { return std::isfinite(value); }))
    throw caller_error(name, "holds a value that is not a finite number", "train the adapter again, or take another");
}

}  // namespace plimsoll
