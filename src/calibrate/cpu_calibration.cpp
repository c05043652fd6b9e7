#include "calibrate/cpu_calibration.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/random.h"
#include "config/model_catalog.h"
#include "config/model_config.h"
#include "formats/output_file.h"
#include "formats/text_file.h"
#include "hub/model_source.h"
#include "train/new_model.h"
#include "train/trainer.h"

namespace plimsoll {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// A folder of our own under the system's, removed at the end.
class WorkFolder {
 public:
  WorkFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "plimsoll-calibrate-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr)
      throw world_error(pattern, "cannot be made", "give another place with TMPDIR", errno);
    path_ = pattern;
  }
  ~WorkFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Rows of ready ids, full length.
std::string write_rows(const std::string& folder, int64_t rows, int64_t length, int64_t vocab) {
  const std::string path = folder + "/rows.jsonl";
  std::string text;
  uint64_t state = 1;
  for (int64_t row = 0; row < rows; ++row) {
    text += "{\"input_ids\":[";
    for (int64_t i = 0; i < length; ++i) {
      state = state * 6364136223846793005ULL + 1442695040888963407ULL;
      text += fmt::format("{}{}", i > 0 ? "," : "", (state >> 33) % static_cast<uint64_t>(vocab));
    }
    text += "]}\n";
  }
  write_file_atomically(path, text);
  return path;
}

struct PhaseCosts {
  std::array<OpSample, kOpKindCount> train{}, update{};
};

PhaseCosts costs_of(const TrainPlan& plan) {
  PhaseCosts costs;
  for (const ExecutionPlan& phase : plan.run.phases) {
    const bool train = phase.name() == phase_names::kTrainStep;
    if (!train && phase.name() != phase_names::kUpdate) continue;
    for (const Op& op : phase.graph.ops) {
      const OpCost cost = op_cost(phase.graph, op);
      OpSample& sample = (train ? costs.train : costs.update)[static_cast<size_t>(op.kind)];
      sample.flops += cost.flops;
      sample.bytes += static_cast<double>(cost.bytes_accessed);
      sample.calls += 1;
    }
  }
  return costs;
}

OpSample step_sample(const PhaseCosts& costs, const TrainPlan& plan, size_t kind) {
  const auto micro = static_cast<double>(plan.grad_accum_steps);
  OpSample sample = costs.update[kind];
  sample.flops += micro * costs.train[kind].flops;
  sample.bytes += micro * costs.train[kind].bytes;
  sample.calls += micro * costs.train[kind].calls;
  return sample;
}

struct SmallRun {
  ModelSizes sizes;
  int64_t seq_len, batch;
  Method method;
};

// Small in layers, but as wide and long as what people train: rates depend on shapes.
std::vector<SmallRun> small_runs() {
  const auto sizes = [](int64_t layers, int64_t hidden, int64_t heads, int64_t kv_heads, int64_t mlp, int64_t vocab) {
    ModelSizes s;
    s.layers = layers, s.hidden = hidden, s.heads = heads, s.kv_heads = kv_heads, s.intermediate = mlp, s.vocab = vocab;
    return s;
  };
  return {{sizes(3, 576, 9, 3, 1536, 49152), 512, 4, Method::lora},
          {sizes(2, 576, 9, 3, 1536, 8192), 256, 2, Method::lora},
          {sizes(3, 960, 15, 5, 2560, 16384), 512, 2, Method::lora},
          {sizes(2, 576, 9, 3, 1536, 16384), 512, 2, Method::full}};
}

}  // namespace

OpRate fit_rate(const std::vector<OpSample>& samples) {
  OpRate rate;
  rate.known = !samples.empty();
  if (samples.size() == 1) {
    const OpSample& s = samples.front();
    if (s.flops > 0) rate.seconds_per_flop = s.seconds / s.flops;
    else if (s.bytes > 0) rate.seconds_per_byte = s.seconds / s.bytes;
    else if (s.calls > 0) rate.seconds_per_call = s.seconds / s.calls;
    return rate;
  }
  // Coordinate descent: each rate in turn takes its best value beside the others, not below 0.
  std::array<double, 3> x{};
  const auto column = [](const OpSample& s, size_t i) {
    return (i == 0 ? s.flops : i == 1 ? s.bytes : s.calls) / s.seconds;
  };
  for (int round = 0; round < 2000; ++round)
    for (size_t i = 0; i < 3; ++i) {
      double top = 0, bottom = 0;
      for (const OpSample& s : samples) {
        if (s.seconds <= 0) continue;
        double rest = 1;
        for (size_t j = 0; j < 3; ++j)
          if (j != i) rest -= x[j] * column(s, j);
        top += column(s, i) * rest;
        bottom += column(s, i) * column(s, i);
      }
      if (bottom > 0) x[i] = std::max(0.0, top / bottom);
    }
  rate.seconds_per_flop = x[0], rate.seconds_per_byte = x[1], rate.seconds_per_call = x[2];
  return rate;
}

CpuCalibration calibrate_cpu(DType precision, int64_t threads, double most_seconds) {
  const auto start = Clock::now();
  const WorkFolder work;
  const CatalogModel* base = find_catalog_model("smollm2-135m");
  PLIMSOLL_CHECK(base != nullptr, "the catalogue has smollm2-135m");
  std::array<std::vector<OpSample>, kOpKindCount> samples;
  int number = 0;
  for (const SmallRun& small : small_runs()) {
    if (number > 0 && seconds_since(start) > 0.7 * most_seconds) break;
    const std::string folder = fmt::format("{}/{}", work.path(), number++);
    std::filesystem::create_directories(folder + "/model");
    const ModelConfig config = parse_hf_config(resize_config(base->config, base->name, small.sizes), "calibration");
    write_random_weights(config, DType::bf16, 0, folder + "/model", [](int64_t) {});
    write_file_atomically(folder + "/model/config.json", write_hf_config(config, DType::bf16));
    TrainOptions options;
    constexpr int64_t kSteps = 4;
    Recipe& recipe = options.recipe;
    recipe.model = folder + "/model";
    recipe.data = {write_rows(folder, small.batch * kSteps, small.seq_len, config.vocab_size)};
    recipe.data_shape = DataShape::ids;
    recipe.precision = precision;
    recipe.method = small.method;
    recipe.seq_len = small.seq_len;
    recipe.global_batch = small.batch;
    recipe.steps = kSteps;
    recipe.threads = threads;
    recipe.recompute = RecomputeMode::none;
    options.out = folder + "/out";
    options.on_profile = [&](const TrainPlan& plan, const Profile& profile) {
      const PhaseCosts costs = costs_of(plan);
      for (size_t kind = 0; kind < static_cast<size_t>(kOpKindCount); ++kind) {
        OpSample sample = step_sample(costs, plan, kind);
        if (sample.calls <= 0 || profile.seconds[kind] <= 0) continue;
        sample.seconds = profile.seconds[kind] / static_cast<double>(kSteps);
        samples[kind].push_back(sample);
      }
    };
    run_training(options);
  }
  CpuCalibration calibration;
  for (size_t kind = 0; kind < samples.size(); ++kind)
    if (!samples[kind].empty()) calibration.rates[kind] = fit_rate(samples[kind]);
  calibration.threads = static_cast<int>(threads);
  calibration.took_seconds = seconds_since(start);
  return calibration;
}

double predict_step_seconds(const TrainPlan& plan, const CpuCalibration& calibration) {
  const PhaseCosts costs = costs_of(plan);
  double seconds = 0, bytes = 0, unknown_bytes = 0;
  for (size_t kind = 0; kind < static_cast<size_t>(kOpKindCount); ++kind) {
    const OpSample sample = step_sample(costs, plan, kind);
    const OpRate& rate = calibration.rates[kind];
    if (!rate.known) {
      unknown_bytes += sample.bytes;
      continue;
    }
    seconds += sample.flops * rate.seconds_per_flop + sample.bytes * rate.seconds_per_byte +
               sample.calls * rate.seconds_per_call;
    bytes += sample.bytes;
  }
  return bytes > 0 ? seconds * (1 + unknown_bytes / bytes) : seconds;
}

StepCheck check_step(const Recipe& asked, const CpuCalibration& calibration, int64_t steps) {
  const WorkFolder work;
  StepCheck check;
  check.steps = steps;
  TrainOptions options;
  options.recipe = asked;
  Recipe& recipe = options.recipe;
  const ModelConfig config = open_model_source(recipe.model, ModelNeed::config).config;
  const int64_t batch = rows_per_step(recipe);
  recipe.data = {write_rows(work.path(), batch * steps, recipe.seq_len, config.vocab_size)};
  recipe.data_shape = DataShape::ids;
  recipe.eval_data.clear();
  recipe.epochs.reset();
  recipe.steps = steps;
  options.out = work.path() + "/out";
  std::vector<double> measured;
  auto last = Clock::now();
  options.on_progress = [&](const TrainProgress&) {
    measured.push_back(seconds_since(last));
    last = Clock::now();
  };
  options.on_profile = [&](const TrainPlan& plan, const Profile&) {
    check.predicted_seconds = predict_step_seconds(plan, calibration);
  };
  run_training(options);
  if (measured.size() > 1) measured.erase(measured.begin());  // loading and the first touch of everything
  std::sort(measured.begin(), measured.end());
  if (!measured.empty()) {
    check.measured_seconds = measured[measured.size() / 2];
    check.spread = (measured.back() - measured.front()) / check.measured_seconds;
  }
  return check;
}

}  // namespace plimsoll
