// Brings weights from files into the arena, by the names that graphs use.
#pragma once

#include <string>

#include "formats/tensor_index.h"
#include "setup/stream_services.h"

namespace plimsoll {

// Loads model parameters ("model.…"), adapter matrices ("base_model.…") and their f32 masters ("master.…") from the
// files' indices. A missing tensor or a wrong shape is a caller Error that names it. The indices must outlive the
// loader.
class WeightLoader : public StreamServices {
 public:
  explicit WeightLoader(const TensorIndex& model, const TensorIndex* adapter = nullptr, WeightStream* stream = nullptr)
      : StreamServices(stream), model_(model), adapter_(adapter) {}
  void load(const std::string& tensor, const Value& target, std::span<std::byte> out,
            std::span<std::byte> staging) override;

 private:
  const TensorIndex& model_;
  const TensorIndex* adapter_;
};

// The entry of `name` in the index, of shape `shape`; a caller Error that names what is wrong otherwise.
const TensorEntry& find_weight(const TensorIndex& index, const std::string& name, const Shape& shape);

// The name in a file of the value `name`: without the "master." of an f32 copy.
std::string stored_name_of(const std::string& name);

// Staging that loads every tensor of the index: at least the largest minimum, at most that or 4 MiB.
int64_t load_staging_bytes(const TensorIndex& index);

}  // namespace plimsoll
