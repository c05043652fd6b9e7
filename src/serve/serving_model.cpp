#include "serve/serving_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/bytes.h"
#include "base/error.h"

namespace plimsoll {
namespace {

// Kernels of a captured graph follow each other without the host.
constexpr double kGraphKernelSeconds = 2e-6;
constexpr double kKernelsPerLayer = 10;
// Between two passes the server picks tokens and the next batch.
constexpr double kBetweenPasses = 1.5e-3;
constexpr double kContextBytes = 1.5e9;  // context, graphs, communicators of one device

double elements(const std::vector<ProductShape>& products) {
  double sum = 0;
  for (const ProductShape& product : products) sum += static_cast<double>(product.out * product.in);
  return sum;
}

}  // namespace

ServingModel serving_model(const ServingSetup& setup) {
  ServingModel model;
  model.setup = setup;
  model.rates = kernel_rates(*setup.device, setup.constants, FlashKind::second);
  const auto tensor = static_cast<double>(setup.tensor);
  const ModelShape& shape = *setup.model;
  double weights = 2.0 * static_cast<double>(shape.head_parameters + shape.embedding_parameters);
  for (const auto& [layer, count] : shape.groups)
    weights += static_cast<double>(count) * setup.weight_bytes * static_cast<double>(layer.parameters);
  model.weights_device_bytes = weights / tensor;
  int64_t kv_heads = 1 << 30;
  for (const auto& [layer, count] : shape.groups) kv_heads = std::min(kv_heads, std::max<int64_t>(1, layer.kv_heads));
  // Each device holds whole key heads; beyond their number they are copied.
  const double kv_cut = static_cast<double>(std::min(setup.tensor, kv_heads));
  model.kv_token_bytes = static_cast<double>(shape.kv_bytes_per_token_16bit) / 2 * setup.kv_bytes / kv_cut;
  const double tokens = static_cast<double>(setup.step_tokens), hidden = static_cast<double>(shape.hidden);
  double widest = 0;
  for (const auto& [layer, count] : shape.groups)
    widest = std::max(widest, static_cast<double>(layer.q_size + 2 * layer.kv_size +
                                                  3 * std::max(layer.ffn, layer.chosen * layer.expert_ffn)));
  model.workspace_bytes = kContextBytes + 2 * tokens * (4 * hidden + widest / tensor) +
                          6 * static_cast<double>(setup.most_sequences * shape.vocab) / tensor;
  const double usable = setup.memory_share * static_cast<double>(setup.device->memory_bytes);
  const double cache = usable - model.weights_device_bytes - model.workspace_bytes;
  model.cache_tokens = static_cast<int64_t>(cache / model.kv_token_bytes) / setup.block_tokens * setup.block_tokens;
  if (model.cache_tokens < setup.block_tokens)
    throw caller_error(
        fmt::format("{} × {}", setup.tensor, setup.device->name),
        fmt::format("weights of {} and workspace of {} leave no room for a cache in {} of {}",
                    format_bytes(static_cast<int64_t>(model.weights_device_bytes)),
                    format_bytes(static_cast<int64_t>(model.workspace_bytes)),
                    format_bytes(static_cast<int64_t>(usable)), format_bytes(setup.device->memory_bytes)),
        "more devices a replica with --tensor" + smaller_setups(setup));
  return model;
}

bool can_join(const Device& device, const TimeConstants& constants, int64_t tensor) {
  const Fabric fabric = fabric_of(device, constants);
  const int64_t in_node = ranks_in_node(fabric, tensor, 1);
  return (in_node == 1 || fabric.link > 0) && (in_node == tensor || fabric.network > 0);
}

std::string smaller_setups(const ServingSetup& setup) {
  std::string text;
  if (setup.weight_bytes > 1) text += ", smaller weights with --weights 8bit or 4bit";
  else if (setup.weight_bytes == 1) text += ", smaller weights with --weights 4bit";
  if (setup.kv_bytes > 1) text += ", a smaller cache with --kv 8bit";
  return text;
}

ServingModel least_serving_model(const ServingSetup& asked, int64_t request_tokens) {
  constexpr int64_t kMostTensor = 256;
  ServingSetup setup = asked;
  kernel_rates(*setup.device, setup.constants);  // what the catalogue lacks is an error, not a lack of room
  std::string problem;
  for (setup.tensor = 1; setup.tensor <= kMostTensor; setup.tensor *= 2) {
    if (!can_join(*setup.device, setup.constants, setup.tensor)) {
      problem += "; the catalogue does not know what joins more";
      break;
    }
    try {
      ServingModel model = serving_model(setup);
      if (model.cache_tokens >= request_tokens) return model;
      problem = fmt::format("{} hold the weights and {} tokens, a request has {}", setup.tensor, model.cache_tokens,
                            request_tokens);
    } catch (const Error& error) {
      problem = error.problem();
    }
  }
  throw caller_error(fmt::format("{} × {}", setup.tensor / 2, setup.device->name), problem,
                     "a device with more memory, shorter requests" + smaller_setups(setup));
}

double pass_seconds(const ServingModel& model, int64_t prefill_tokens, double prefill_keys, int64_t decoding,
                    int64_t cached_tokens) {
  const ServingSetup& setup = model.setup;
  const ModelShape& shape = *setup.model;
  const auto tensor = static_cast<double>(setup.tensor);
  const double tokens = static_cast<double>(prefill_tokens + decoding);
  if (tokens <= 0) return 0;
  const ProductFormat format =
      setup.weight_bytes == 1 && setup.device->fp8 > 0 ? ProductFormat::fp8 : ProductFormat::half;
  const double rate = model.rates.product[static_cast<int>(format)];
  double seconds = kBetweenPasses;
  for (const auto& [layer, count] : shape.groups) {
    const double dense = elements(layer.products) / tensor;
    double flops = 2 * tokens * dense, bytes = setup.weight_bytes * dense;
    if (layer.experts > 0) {
      // Experts that at least one of the tokens asks: E (1 - (1 - K/E)^tokens).
      const auto all = static_cast<double>(layer.experts), chosen = static_cast<double>(layer.chosen);
      const double asked = all * (1 - std::pow(1 - chosen / all, tokens));
      flops += 2 * tokens * chosen * elements(layer.expert) / tensor;
      bytes += setup.weight_bytes * asked * elements(layer.expert) / tensor;
    }
    bytes += 2 * tokens * 14 * static_cast<double>(shape.hidden);  // activations in and out of kernels
    double layer_seconds = std::max(flops / rate, bytes / model.rates.stream) + kKernelsPerLayer * kGraphKernelSeconds;
    const double width = static_cast<double>(layer.heads * (layer.key_dim + layer.value_dim)) / tensor;
    const double keys = layer.window > 0 ? std::min(prefill_keys, static_cast<double>(layer.window)) : prefill_keys;
    layer_seconds += attention_seconds(model.rates, static_cast<double>(prefill_tokens), keys, width, false);
    if (setup.tensor > 1) {
      const Fabric fabric = fabric_of(*setup.device, setup.constants);
      layer_seconds +=
          2 * collective_seconds(fabric, Collective::all_reduce, 2 * tokens * static_cast<double>(shape.hidden),
                                 setup.tensor, ranks_in_node(fabric, setup.tensor, 1));
    }
    seconds += static_cast<double>(count) * layer_seconds;
  }
  seconds += static_cast<double>(cached_tokens) * model.kv_token_bytes / model.rates.stream;
  // Logits of the last token of each sequence.
  const double head = static_cast<double>(shape.vocab * shape.hidden) / tensor;
  seconds += std::max(2 * static_cast<double>(decoding + 1) * head / rate, 2 * head / model.rates.stream);
  return seconds;
}

}  // namespace plimsoll
