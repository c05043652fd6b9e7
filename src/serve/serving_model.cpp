#include "serve/serving_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/bytes.h"
#include "base/error.h"
#include "engines/serving_memory.h"

namespace plimsoll {
namespace {

// Kernels of a captured graph follow each other without the host.
constexpr double kGraphKernelSeconds = 2e-6;
constexpr double kKernelsPerLayer = 10;
// Between two passes the server picks tokens and the next batch.
constexpr double kBetweenPasses = 1.5e-3;

// What vLLM's server does unless told otherwise.
void set_server_defaults(ServingSetup& setup) {
  const bool large = setup.device->memory_bytes >= 70 * kGiB && setup.device->fp8 > 0;
  if (setup.step_tokens <= 0) setup.step_tokens = large ? 8192 : 2048;
  if (setup.most_sequences <= 0) setup.most_sequences = large ? 1024 : 256;
}

double elements(const std::vector<ProductShape>& products) {
  double sum = 0;
  for (const ProductShape& product : products) sum += static_cast<double>(product.out * product.in);
  return sum;
}

}  // namespace

ServingModel serving_model(const ServingSetup& setup) {
  ServingModel model;
  model.setup = setup;
  set_server_defaults(model.setup);
  // vLLM runs FlashAttention-3 where there is one: on Hopper.
  model.rates = kernel_rates(*setup.device, setup.constants, FlashKind::third);
  ServingRun run;
  run.engine = "vllm";
  run.model = *setup.config;
  run.weights = setup.weight_bytes >= 2   ? WeightFormat::bf16
                : setup.weight_bytes >= 1 ? WeightFormat::int8
                                          : WeightFormat::nf4;
  run.kv_bytes = setup.kv_bytes;
  run.tensor = setup.tensor;
  run.device_bytes = setup.device->memory_bytes;
  run.context_tokens = std::max(setup.block_tokens, setup.request_tokens);
  run.batch_tokens = model.setup.step_tokens;
  run.logit_rows = model.setup.most_sequences;
  const ServingBytes bytes = serving_bytes(run);
  model.weights_device_bytes = static_cast<double>(bytes.weights);
  model.workspace_bytes = static_cast<double>(bytes.workspace + bytes.outside);
  model.kv_token_bytes =
      static_cast<double>(bytes.kv_per_user) / static_cast<double>(round_up(run.context_tokens, setup.block_tokens));
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
  std::string problem, way_out = "a device with more memory, shorter requests";
  for (setup.tensor = 1; setup.tensor <= kMostTensor; setup.tensor *= 2) {
    if (!can_join(*setup.device, setup.constants, setup.tensor)) {
      problem += "; the catalogue does not know what joins more";
      way_out = "link (and network) of the device in a devices.csv of your own with --catalog, shorter requests";
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
                     way_out + smaller_setups(setup));
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
