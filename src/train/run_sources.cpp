#include "train/run_sources.h"

#include <algorithm>

#include "backend/cpu/cpu_backend.h"
#include "base/bytes.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "config/machine.h"
#include "train/weight_loader.h"

namespace plimsoll {
namespace {

// Fitted on runs of SmolLM2-135M and smaller models; a test checks that no run exceeds the sum.
constexpr int64_t kCodeAndLibraries = 32 * kMiB;  // program, C++ runtime, matmul library and its generated kernels
constexpr int64_t kPerThread = 1 * kMiB;          // touched stack, library thread state, scratch of the tokenizer
constexpr int64_t kPerToken = 100;                // tokenizer: texts, lookup tables, merges
constexpr int64_t kPerLayer = 256 * kKiB;         // graphs and their plan
constexpr int64_t kPerLineByte = 12;              // a line parsed, as text, as values and as tokens, at once
constexpr int64_t kPerRow = 48;                   // where each row of the data lies, and an epoch's order

}  // namespace

RunSources open_run_sources(const Recipe& recipe, ModelNeed need) {
  RunSources sources;
  sources.recipe = recipe;
  sources.model = open_model_source(recipe.model, need);
  sources.adapter = open_adapter_source(recipe.adapter);
  if (sources.adapter.files) {
    sources.recipe.rank = sources.adapter.files->config.rank;
    sources.recipe.alpha = sources.adapter.files->config.alpha;
    sources.recipe.rslora = sources.adapter.files->config.rslora;
  }
  if (recipe.seq_len > sources.model.config.context_length)
    log_warning("--seq-len " + std::to_string(recipe.seq_len) + " is longer than the model's context of " +
                std::to_string(sources.model.config.context_length) +
                " tokens: positions beyond it are new to the model");
  sources.train.adapter_modules = sources.adapter.modules;
  sources.train.load_staging_bytes = load_staging_bytes(sources.model.tensors);
  sources.threads = recipe.threads > 0 ? static_cast<int>(recipe.threads) : inspect_machine().threads;
  return sources;
}

int64_t runtime_overhead_bytes(const ModelConfig& config, int threads, int64_t data_rows) {
  return kCodeAndLibraries + kPerThread * threads + kPerToken * config.vocab_size + kPerLayer * config.layers +
         kPerRow * data_rows;
}

DataExtent measure_data(const Recipe& recipe) {
  std::vector<std::string> paths = recipe.data;
  if (!recipe.eval_data.empty()) paths.push_back(recipe.eval_data);
  std::vector<std::byte> buffer(256 * kKiB);
  DataExtent extent;
  for (const std::string& path : paths) {
    const InputFile file(path);
    int64_t line_start = 0;
    for (int64_t offset = 0; offset < file.size(); offset += static_cast<int64_t>(buffer.size())) {
      const auto count =
          static_cast<size_t>(std::min<int64_t>(static_cast<int64_t>(buffer.size()), file.size() - offset));
      file.read(offset, std::span(buffer).first(count));
      for (size_t i = 0; i < count; ++i) {
        if (buffer[i] != std::byte{'\n'}) continue;
        const int64_t line_end = offset + static_cast<int64_t>(i) + 1;
        extent.longest_line_bytes = std::max(extent.longest_line_bytes, line_end - line_start);
        line_start = line_end;
        ++extent.rows;
      }
    }
    extent.longest_line_bytes = std::max(extent.longest_line_bytes, file.size() - line_start);
    ++extent.rows;  // a last line without an end
  }
  return extent;
}

int64_t reading_bytes(const ModelConfig& config, int threads, const DataExtent& data) {
  return runtime_overhead_bytes(config, threads, data.rows) + kPerLineByte * data.longest_line_bytes;
}

void check_weights(const ModelFiles& model, const std::vector<ParameterSpec>& parameters) {
  for (const ParameterSpec& spec : parameters) find_weight(model.tensors, spec.name, spec.shape);
}

TrainPlan plan_run(const RunSources& sources) {
  PlanTarget target;
  target.workspace_bytes = [threads = sources.threads](const Graph& graph, const Op& op) {
    return cpu_backend().workspace_bytes(graph, op, threads);
  };
  const DataExtent data = measure_data(sources.recipe);
  target.runtime_overhead_bytes = runtime_overhead_bytes(sources.model.config, sources.threads, data.rows);
  target.least_total_bytes = reading_bytes(sources.model.config, sources.threads, data);
  target.flops_per_second = (sources.recipe.precision == DType::bf16 ? 1.0e12 : 1.2e11) * sources.threads;
  target.bytes_per_second = 1.0e10;
  return choose_plan(sources.model.config, sources.recipe, sources.train, target);
}

}  // namespace plimsoll
