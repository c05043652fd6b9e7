#include "calibrate/cpu_calibration.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/processor_time.h"
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

// Calls fn(op, its cost, how often a step runs it, the phase, its place there) for every op of an optimizer step.
template <typename Function>
void each_op_of_a_step(const TrainPlan& plan, Function&& fn) {
  for (const ExecutionPlan& phase : plan.run.phases) {
    const bool train = phase.name() == phase_names::kTrainStep;
    if (!train && phase.name() != phase_names::kUpdate) continue;
    const double times = train ? static_cast<double>(plan.grad_accum_steps) : 1;
    for (size_t i = 0; i < phase.graph.ops.size(); ++i)
      fn(phase.graph.ops[i], op_cost(phase.graph, phase.graph.ops[i]), times, phase, i);
  }
}

// What the threads waited for a processor, beside what they ran, since this was made.
class BusyWatch {
 public:
  double waited_share() const {
    const auto now = processor_share();
    if (!start_ || !now) return 0;
    const double ran = now->ran_seconds - start_->ran_seconds, waited = now->waited_seconds - start_->waited_seconds;
    return ran + waited > 0 ? std::clamp(waited / (ran + waited), 0.0, 1.0) : 0;
  }

 private:
  std::optional<ProcessorShare> start_ = processor_share();
};

struct SmallRun {
  ModelSizes sizes;
  int64_t seq_len, batch;
  Method method;
};

// As wide and long as what people train, and with so many layers that weights don't stay in the caches from one step
// to the next: rates depend on both. The first ones, which a slow machine still gets to, meet every kind of op.
std::vector<SmallRun> small_runs() {
  const auto sizes = [](int64_t layers, int64_t hidden, int64_t heads, int64_t kv_heads, int64_t mlp, int64_t vocab) {
    ModelSizes s;
    s.layers = layers, s.hidden = hidden, s.heads = heads, s.kv_heads = kv_heads, s.intermediate = mlp, s.vocab = vocab;
    return s;
  };
  return {{sizes(12, 576, 9, 3, 1536, 49152), 256, 1, Method::lora},
          {sizes(4, 576, 9, 3, 1536, 49152), 256, 1, Method::full},
          {sizes(6, 576, 9, 3, 1536, 49152), 512, 2, Method::lora},
          {sizes(2, 576, 9, 3, 1536, 8192), 2048, 1, Method::lora},
          {sizes(4, 960, 15, 5, 2560, 8192), 512, 1, Method::full},
          {sizes(2, 960, 15, 5, 2560, 8192), 1024, 1, Method::lora}};
}

// Ops of one size are one sample: their sum.
void add_sample(std::vector<OpSample>& samples, const OpSample& added) {
  for (OpSample& s : samples) {
    if (s.flops != added.flops * s.calls || s.bytes != added.bytes * s.calls) continue;
    s.flops += added.flops, s.bytes += added.bytes, s.calls += 1, s.seconds += added.seconds;
    return;
  }
  samples.push_back(added);
}

constexpr double kUnmeasured = 1e9;  // more seconds than any op

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
        top += s.seconds * column(s, i) * rest;
        bottom += s.seconds * column(s, i) * column(s, i);
      }
      if (bottom > 0) x[i] = std::max(0.0, top / bottom);
    }
  rate.seconds_per_flop = x[0], rate.seconds_per_byte = x[1], rate.seconds_per_call = x[2];
  return rate;
}

CpuCalibration calibrate_cpu(DType precision, int64_t threads, const Interrupted& interrupted, double most_seconds) {
  const auto start = Clock::now();
  const BusyWatch watch;
  const WorkFolder work;
  const CatalogModel* base = find_catalog_model("smollm2-135m");
  PLIMSOLL_CHECK(base != nullptr, "the catalogue has smollm2-135m");
  std::array<std::vector<OpSample>, kOpKindCount> samples;
  int number = 0;
  for (const SmallRun& small : small_runs()) {
    if (number > 1 && seconds_since(start) > 0.7 * most_seconds) break;
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
      each_op_of_a_step(plan, [&](const Op& op, const OpCost& cost, double, const ExecutionPlan& phase, size_t i) {
        const auto least = profile.least.find(&phase);
        if (least == profile.least.end() || !(least->second[i] < kUnmeasured)) return;
        add_sample(samples[static_cast<size_t>(op.kind)],
                   {cost.flops, static_cast<double>(cost.bytes_accessed), 1, least->second[i]});
      });
    };
    options.interrupted = interrupted;
    run_training(options);
    if (interrupted && interrupted()) break;
  }
  CpuCalibration calibration;
  for (size_t kind = 0; kind < samples.size(); ++kind)
    if (!samples[kind].empty()) calibration.rates[kind] = fit_rate(samples[kind]);
  calibration.threads = static_cast<int>(threads);
  calibration.took_seconds = seconds_since(start);
  calibration.waited_share = watch.waited_share();
  return calibration;
}

double predict_step_seconds(const TrainPlan& plan, const CpuCalibration& calibration) {
  double seconds = 0, bytes = 0, unknown_bytes = 0;
  each_op_of_a_step(plan, [&](const Op& op, const OpCost& cost, double times, const ExecutionPlan&, size_t) {
    const OpRate& rate = calibration.rates[static_cast<size_t>(op.kind)];
    const auto moved = static_cast<double>(cost.bytes_accessed);
    (rate.known ? bytes : unknown_bytes) += times * moved;
    if (rate.known)
      seconds += times * (cost.flops * rate.seconds_per_flop + moved * rate.seconds_per_byte + rate.seconds_per_call);
  });
  return bytes > 0 ? seconds * (1 + unknown_bytes / bytes) : seconds;
}

StepCheck check_step(const Recipe& asked, const CpuCalibration& calibration, int64_t steps,
                     const Interrupted& interrupted) {
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
  struct Measured {
    double wall, least;
  };
  std::vector<Measured> measured;
  auto last = Clock::now();
  double processors = process_seconds();
  const BusyWatch watch;
  options.on_progress = [&](const TrainProgress&) {
    const double wall = seconds_since(last);
    measured.push_back({wall, std::min(wall, process_seconds() - processors)});
    last = Clock::now();
    processors = process_seconds();
    check.waited_share = watch.waited_share();  // the workers are alive
  };
  options.on_profile = [&](const TrainPlan& plan, const Profile&) {
    check.predicted_seconds = predict_step_seconds(plan, calibration);
  };
  options.interrupted = interrupted;
  run_training(options);
  if (measured.size() > 1) measured.erase(measured.begin());  // loading and the first touch of everything
  if (measured.empty()) return check;
  std::sort(measured.begin(), measured.end(), [](const Measured& a, const Measured& b) { return a.wall < b.wall; });
  check.median_seconds = measured[measured.size() / 2].wall;
  check.spread = (measured.back().wall - measured.front().wall) / check.median_seconds;
  check.measured_seconds = measured.front().least;
  for (const Measured& each : measured) check.measured_seconds = std::min(check.measured_seconds, each.least);
  return check;
}

}  // namespace plimsoll
