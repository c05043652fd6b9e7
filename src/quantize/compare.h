// A quantized model beside the original: both run piece by piece over the same text, then their next-token
// distributions are compared position by position.
#pragma once

#include "base/thread_pool.h"
#include "formats/model_files.h"
#include "quantize/quantize.h"

namespace plimsoll {

// What the comparison needs of the process; and the comparison. The files are options.eval.
int64_t comparison_bytes(const ModelFiles& original, const QuantizeOptions& options, int threads);
QuantizeComparison compare_models(const ModelFiles& original, const ModelFiles& quantized,
                                  const QuantizeOptions& options, ThreadPool& pool);

// Of one position: -log p(label) of both, KL(original ‖ other), whether both have the same likeliest token.
struct PositionComparison {
  double original_loss = 0, loss = 0, kl = 0;
  bool same_top = false;
};
PositionComparison compare_logits(const float* original, const float* other, int64_t vocabulary, int32_t label);

}  // namespace plimsoll
