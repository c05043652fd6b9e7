// How three kinds of engines share a device between weights, cache and work.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "arch/architecture.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "engines/serving_memory.h"
#include "engines/stack_memory.h"
#include "formats/gguf/gguf_export.h"

namespace plimsoll {
namespace {

struct Habits {
  std::string_view engine;
  double utilization;       // of the device that the engine takes
  int64_t block_tokens;     // the cache is handed out in such pieces
  int64_t batch_tokens;     // of one prefill step
  int64_t logit_rows;       // rows of logits that exist at once
  double activation_bytes;  // of a value in flight
  double cache_growth;      // capacity over need
};

// vLLM's defaults (gpu_memory_utilization, block size, max_num_batched_tokens, max_num_seqs); llama.cpp's (n_ubatch;
// the cache is made whole at the start); our own: f32, caches that double.
constexpr std::array kHabits = {
    Habits{"vllm", 0.9, 16, 8192, 256, 2, 1.0},
    Habits{"llama.cpp", 1.0, 1, 512, 512, 4, 1.0},
    Habits{"plimsoll", 1.0, 1, 512, 1, 4, 2.0},
};

}  // namespace

ServingBytes serving_bytes(const ServingRun& run) {
  const auto habits =
      std::find_if(kHabits.begin(), kHabits.end(), [&](const Habits& h) { return h.engine == run.engine; });
  if (habits == kHabits.end())
    throw caller_error(run.engine, "has no serving profile", "one of vllm, llama.cpp, plimsoll");
  if (run.tensor < 1 || run.device_bytes <= 0 || run.context_tokens < 1)
    throw caller_error("serving", "lacks devices, their memory or a context", "give all three");
  const double bits = weight_bits(run.weights);
  double products = 0, total = 0;
  for (const ParameterSpec& spec : list_parameters(run.model)) {
    const auto values = static_cast<double>(spec.shape.elements());
    total += values;
    if (spec.part == ParameterPart::attention || spec.part == ParameterPart::mlp) products += values;
  }
  const auto ranks = static_cast<double>(run.tensor);
  ServingBytes bytes;
  if (run.weights_bytes > 0) bytes.weights = ceil_div(run.weights_bytes, run.tensor);
  else bytes.weights = static_cast<int64_t>((products * bits + (total - products) * std::max(16.0, bits)) / 8 / ranks);
  const ModelConfig& m = run.model;
  const auto width = static_cast<double>(std::max(2 * m.intermediate_size, (m.heads + 2 * m.kv_heads) * m.head_dim));
  // The widest moment of a layer: the residual, the norm's result, and what a product gives.
  const int64_t batch_tokens = run.batch_tokens > 0 ? run.batch_tokens : habits->batch_tokens;
  const int64_t logit_rows = run.logit_rows > 0 ? run.logit_rows : habits->logit_rows;
  bytes.workspace = static_cast<int64_t>(static_cast<double>(batch_tokens) * habits->activation_bytes *
                                             (3 * static_cast<double>(m.hidden_size) + width / ranks) +
                                         static_cast<double>(logit_rows * m.vocab_size) * 4);
  if (habits->engine != "plimsoll")
    bytes.outside = static_cast<int64_t>(memory_constant("context_bytes") +
                                         (run.tensor > 1 ? memory_constant("communicator_bytes") : 0));
  bytes.kv_per_token = kv_bytes_per_token(m, run.kv_bytes, run.tensor);
  const int64_t held = round_up(run.context_tokens, habits->block_tokens);
  bytes.kv_per_user = static_cast<int64_t>(
      habits->cache_growth * static_cast<double>(kv_bytes_of_sequence(m, held, run.kv_bytes, run.tensor)));
  const auto all = static_cast<int64_t>(habits->utilization * static_cast<double>(run.device_bytes));
  const int64_t taken = bytes.weights + bytes.workspace + bytes.outside;
  bytes.room = std::max<int64_t>(0, all - taken);
  bytes.most_users = bytes.room / std::max<int64_t>(1, bytes.kv_per_user);
  bytes.least_device_bytes =
      static_cast<int64_t>(std::ceil(static_cast<double>(taken + bytes.kv_per_user) / habits->utilization));
  return bytes;
}

int64_t gguf_weight_bytes(const ModelConfig& model, const std::string& type, const std::string& flag) {
  const GgufFileType* known = find_gguf_file_type(type);
  if (known == nullptr)
    throw caller_error(flag, fmt::format("'{}' is no type of GGUF files", one_line(type, 40)),
                       "one of " + gguf_file_type_names());
  std::vector<NamedShape> tensors;
  for (const ParameterSpec& spec : list_parameters(model)) tensors.push_back({spec.name, spec.shape});
  int64_t bytes = 0;
  for (const GgufOutput& output : plan_gguf_export(model, tensors, *known, {}, "").outputs())
    bytes += dtype_bytes(output.dtype, output.shape.elements());
  return bytes;
}

}  // namespace plimsoll
