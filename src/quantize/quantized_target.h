// Where quantized tensors go: a GGUF file, or a folder of safetensors. Both take f32 tensors in the order of the target
// through save(), write them in their types, and note the error of each.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "arch/architecture.h"
#include "formats/model_files.h"
#include "formats/packed/packed_encode.h"
#include "quantize/quantize.h"
#include "runtime/executor.h"

namespace plimsoll {

class QuantizedTarget : public HostServices {
 public:
  // The tensors to give, in this order.
  const std::vector<ParameterSpec>& order() const { return order_; }
  int64_t planned_bytes() const { return planned_bytes_; }               // of all tensors, as written() will have them
  virtual int64_t staging_bytes(const ParameterSpec& tensor) const = 0;  // that save() needs
  virtual void finish() = 0;                                             // puts the target in place

  // For the next save() of this tensor: grids that were found elsewhere (rows · groups, kept by the caller until then),
  // and what values that lie on them already are off by.
  void set_groups(const std::string& tensor, std::span<const AffineGroup> groups, std::optional<SquaredError> error) {
    found_[tensor] = {groups, error};
  }
  const std::vector<QuantizedTensor>& written() const { return written_; }

 protected:
  std::vector<ParameterSpec> order_;
  int64_t planned_bytes_ = 0;
  std::vector<QuantizedTensor> written_;
  struct Found {
    std::span<const AffineGroup> groups;
    std::optional<SquaredError> error;
  };
  std::unordered_map<std::string, Found> found_;
};

// `by_layer`: tensors come layer by layer, as calibration makes them; else in the order of the model. `model`,
// `options` and `pool` must outlive the target.
std::unique_ptr<QuantizedTarget> open_quantized_target(const ModelFiles& model, const QuantizeOptions& options,
                                                       ThreadPool& pool);

}  // namespace plimsoll
