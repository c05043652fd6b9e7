// Serving: weights, the cache of keys and values, and the work of one step.
#include <algorithm>

#include "arch/architecture.h"
#include "engines/profiles.h"
#include "engines/serving_memory.h"

namespace plimsoll {

double weight_bits(WeightFormat format) {
  switch (format) {
    case WeightFormat::f32:
      return 32;
    case WeightFormat::bf16:
    case WeightFormat::f16:
      return 16;
    case WeightFormat::fp8:
    case WeightFormat::int8:
      return 8;
    case WeightFormat::nf4:
      return 4 + 32.0 / 64;
    case WeightFormat::nf4_double:
      return 4 + 8.0 / 64 + 32.0 / (64 * 256);
    case WeightFormat::fp4:
      return 4 + 32.0 / 64;
    case WeightFormat::gptq4:
      return 4 + (16.0 + 4) / 128;  // a scale and a zero for 128 values
  }
  return 16;
}

int64_t kv_bytes_per_token(const ModelConfig& model, double element_bytes, int64_t tensor) {
  double values = 0;
  const int64_t ranks = std::max<int64_t>(1, tensor);
  if (model.latent.kv_rank > 0)
    values = static_cast<double>(model.layers * (model.latent.kv_rank + model.latent.rotary));
  else values = 2.0 * static_cast<double>(model.layers * std::max<int64_t>(1, model.kv_heads / ranks) * model.head_dim);
  return static_cast<int64_t>(values * element_bytes);
}

int64_t kv_bytes_of_sequence(const ModelConfig& model, int64_t tokens, double element_bytes, int64_t tensor) {
  const int64_t per_token = kv_bytes_per_token(model, element_bytes, tensor);
  if (model.sliding_window <= 0 || model.layer_slides.empty()) return per_token * tokens;
  double bytes = 0;
  for (int64_t i = 0; i < model.layers; ++i) {
    const int64_t window = model.window_of_layer(i);
    const int64_t seen = window > 0 ? std::min(window, tokens) : tokens;
    bytes += static_cast<double>(per_token) / static_cast<double>(model.layers) * static_cast<double>(seen);
  }
  return static_cast<int64_t>(bytes);
}

EngineMemory inference_memory(const EngineRun& run, const StackMemory& stack) {
  const EngineRecipe& r = run.recipe;
  double products = 0, total = 0;
  for (const ParameterSpec& spec : list_parameters(run.model)) {
    const auto values = static_cast<double>(spec.shape.elements());
    total += values;
    if (spec.part == ParameterPart::attention || spec.part == ParameterPart::mlp) products += values;
  }
  const auto ranks = static_cast<double>(std::max<int64_t>(1, run.layout.tensor * run.layout.pipeline));
  const bool quantized = weight_bits(r.weights) < 16;
  const double rest = total - products;
  const double weights =
      (products * weight_bits(r.weights) + rest * (quantized ? 16 : weight_bits(r.weights))) / 8 / ranks;
  const int64_t tokens = std::min(r.seq_len, std::max<int64_t>(run.model.context_length, r.seq_len));
  double cache = static_cast<double>(r.micro_batch) *
                 static_cast<double>(kv_bytes_of_sequence(run.model, tokens, run.kv_bytes, run.layout.tensor)) /
                 static_cast<double>(std::max<int64_t>(1, run.layout.pipeline));
  // A cache that grows by concatenation leaves the old copies' blocks behind.
  if (stack.profile == MemoryProfile::torch) cache *= memory_constant("growing_cache");
  const double work = static_cast<double>(r.micro_batch) * static_cast<double>(run.model.vocab_size) * 8 +
                      4 * static_cast<double>(r.micro_batch * run.model.hidden_size) * 16;
  EngineMemory memory;
  memory.kind = "inference";
  memory.parameters = static_cast<int64_t>(weights);
  memory.activations = static_cast<int64_t>(cache + work);
  memory.allocated.bytes = memory.parameters + memory.activations;
  memory.reserved.bytes = memory.allocated.bytes;
  memory.peak_phase = "decode";
  memory.peak_op = "last token";
  finish_memory(memory, run, stack);
  return memory;
}

}  // namespace plimsoll
