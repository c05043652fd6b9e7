// A model's weights in another number format: what `plimsoll quantize` does.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "quant/affine_groups.h"
#include "quantize/quantize_type.h"

namespace plimsoll {

enum class CalibrationMethod : uint8_t { none, gptq, awq };

struct QuantizeOptions {
  std::string model, out;
  QuantizeType type;
  Clipping clipping = Clipping::absmax;  // of integers
  double percentile = 0.999;
  // With data: the rounding takes what the linears see into account.
  CalibrationMethod method = CalibrationMethod::none;
  std::vector<std::string> calibrate;
  int64_t calibrate_rows = 128;
  bool act_order = false;  // gptq
  double damping = 0.01;   // gptq: of the mean of the Hessian's diagonal
  std::vector<std::string> eval;
  int64_t eval_rows = 0;  // at most so many; 0: all
  int64_t seq_len = 512;
  std::optional<int64_t> memory_bytes;
  int threads = 0;                                                         // 0: all
  std::function<void(int64_t bytes_before, int64_t bytes_after)> on_plan;  // of the tensors; before the work
  std::function<void(const std::string& stage, int64_t done, int64_t of)> on_progress;
};

struct QuantizedTensor {
  std::string name;
  std::string type;  // "nf4", "q6_k"
  int64_t elements = 0, bytes = 0;
  double relative_error = 0;  // ‖what is restored - what was there‖ / ‖what was there‖
};

// The quantized model beside the original, over the counted tokens of a data file.
struct QuantizeComparison {
  int64_t tokens = 0;
  double perplexity = 0, original_perplexity = 0;
  double kl_divergence = 0;   // mean of KL(original ‖ quantized) of the next-token distributions, in nats
  double top1_agreement = 0;  // share of positions where both find the same token likeliest
};

struct QuantizeReport {
  std::string output;
  int64_t parameters = 0;
  int64_t bytes_before = 0, bytes_after = 0;  // of the tensors
  std::vector<QuantizedTensor> tensors;       // in the order in which they were written
  std::optional<QuantizeComparison> comparison;
  int64_t peak_resident_bytes = 0;
  double seconds = 0;

  double bits_per_weight() const;
  std::vector<QuantizedTensor> worst(size_t count) const;  // of largest error, largest first
};

// Writes options.out, which must not be there yet: complete or not at all. Throws a caller Error for a type that does
// not fit the model or the target, and an Error that does not fit when the line is too low.
QuantizeReport run_quantize(const QuantizeOptions& options);

}  // namespace plimsoll
