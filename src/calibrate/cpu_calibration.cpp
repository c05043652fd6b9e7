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
#include "base/log.h"
#include "base/processor_time.h"
#include "base/random.h"
#include "config/model_catalog.h"
#include "config/model_config.h"
#include "formats/output_file.h"
#include "formats/text_file.h"
#include "hub/model_source.h"
#include "models/new_model.h"
#include "train/trainer.h"

namespace plimsoll {
namespace {

constexpr double kUnmeasured = 1e9;  // more seconds than any op

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

// What the small runs have to say is nobody's business.
class QuietNotes {
 public:
  QuietNotes() {
    if (level_ == LogLevel::normal) set_log_level(LogLevel::quiet);
  }
  ~QuietNotes() { set_log_level(level_); }
  QuietNotes(const QuietNotes&) = delete;
  QuietNotes& operator=(const QuietNotes&) = delete;

 private:
  LogLevel level_ = log_level();
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

// Seconds of each step of a run after the first, which loads and touches everything: by the wall, and by the wall or
// the processors' time, whichever is less.
class StepClock {
 public:
  struct Step {
    double wall, least;
  };
  void tick() {
    const double wall = seconds_since(last_), processors = process_seconds();
    steps_.push_back({wall, std::min(wall, processors - processors_)});
    last_ = Clock::now();
    processors_ = processors;
  }
  std::vector<Step> steps() const { return {steps_.begin() + (steps_.size() > 1 ? 1 : 0), steps_.end()}; }
  double quickest() const {
    double least = kUnmeasured;
    for (const Step& step : steps()) least = std::min(least, step.least);
    return least;
  }

 private:
  Clock::time_point last_ = Clock::now();
  double processors_ = process_seconds();
  std::vector<Step> steps_;
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
    if (s.flops != added.flops * s.calls || s.bytes != added.bytes * s.calls ||
        s.weight_bytes != added.weight_bytes * s.calls)
      continue;
    s.flops += added.flops, s.bytes += added.bytes, s.weight_bytes += added.weight_bytes;
    s.calls += 1, s.seconds += added.seconds;
    return;
  }
  samples.push_back(added);
}

// One optimizer step of a plan. Kinds of op that no run met count as the mean rate by bytes of those that were.
double predict_step_seconds(const TrainPlan& plan, const CpuCalibration& calibration) {
  double seconds = 0, bytes = 0, unknown_bytes = 0;
  each_op_of_a_step(plan, [&](const Op& op, const OpCost& cost, double times, const ExecutionPlan&, size_t) {
    const OpRate& rate = calibration.rates[static_cast<size_t>(op.kind)];
    const auto moved = static_cast<double>(cost.bytes_accessed);
    (rate.known ? bytes : unknown_bytes) += times * moved;
    if (rate.known) seconds += times * rate.seconds(cost);
  });
  return bytes > 0 ? seconds * (1 + unknown_bytes / bytes) : seconds;
}

}  // namespace

OpRate fit_rate(const std::vector<OpSample>& samples) {
  OpRate rate;
  rate.known = !samples.empty();
  if (samples.size() == 1) {
    const OpSample& s = samples.front();
    if (s.flops > 0) rate.seconds_per_flop = s.seconds / s.flops;
    else if (s.bytes + s.weight_bytes > 0)
      rate.seconds_per_byte = rate.seconds_per_weight_byte = s.seconds / (s.bytes + s.weight_bytes);
    else if (s.calls > 0) rate.seconds_per_call = s.seconds / s.calls;
    return rate;
  }
  // Coordinate descent: each rate in turn takes its best value beside the others, not below 0.
  std::array<double, 4> x{};
  const auto column = [](const OpSample& s, size_t i) {
    return (i == 0 ? s.flops : i == 1 ? s.bytes : i == 2 ? s.weight_bytes : s.calls) / s.seconds;
  };
  for (int round = 0; round < 2000; ++round)
    for (size_t i = 0; i < x.size(); ++i) {
      double top = 0, bottom = 0;
      for (const OpSample& s : samples) {
        if (s.seconds <= 0) continue;
        double rest = 1;
        for (size_t j = 0; j < x.size(); ++j)
          if (j != i) rest -= x[j] * column(s, j);
        top += s.seconds * column(s, i) * rest;
        bottom += s.seconds * column(s, i) * column(s, i);
      }
      if (bottom > 0) x[i] = std::max(0.0, top / bottom);
    }
  rate.seconds_per_flop = x[0], rate.seconds_per_byte = x[1];
  rate.seconds_per_weight_byte = x[2], rate.seconds_per_call = x[3];
  return rate;
}

CpuCalibration calibrate_cpu(DType precision, int64_t threads, const Interrupted& interrupted, double most_seconds) {
  const auto start = Clock::now();
  const BusyWatch watch;
  const QuietNotes quiet;
  const WorkFolder work;
  const CatalogModel* base = find_catalog_model("smollm2-135m");
  PLIMSOLL_CHECK(base != nullptr, "the catalogue has smollm2-135m");
  std::array<std::vector<OpSample>, kOpKindCount> samples;
  double steps_seconds = 0, ops_seconds = 0;  // whole steps, and their ops alone
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
    StepClock clock;
    options.on_progress = [&](const TrainProgress&) { clock.tick(); };
    options.on_profile = [&](const TrainPlan& plan, const Profile& profile) {
      if (clock.quickest() < kUnmeasured) steps_seconds += clock.quickest();
      each_op_of_a_step(plan,
                        [&](const Op& op, const OpCost& cost, double times, const ExecutionPlan& phase, size_t i) {
                          const auto least = profile.least.find(&phase);
                          if (least == profile.least.end() || !(least->second[i] < kUnmeasured)) return;
                          if (clock.quickest() < kUnmeasured) ops_seconds += times * least->second[i];
                          add_sample(samples[static_cast<size_t>(op.kind)],
                                     {cost.flops, static_cast<double>(cost.bytes_accessed - cost.weight_bytes),
                                      static_cast<double>(cost.weight_bytes), 1, least->second[i]});
                        });
    };
    options.interrupted = interrupted;
    run_training(options);
    if (interrupted && interrupted()) break;
  }
  // No step has the luck of being every op's best, and there is a little between them.
  const double whole = ops_seconds > 0 ? std::max(1.0, steps_seconds / ops_seconds) : 1;
  CpuCalibration calibration;
  for (size_t kind = 0; kind < samples.size(); ++kind) {
    for (OpSample& sample : samples[kind]) sample.seconds *= whole;
    if (!samples[kind].empty()) calibration.rates[kind] = fit_rate(samples[kind]);
  }
  calibration.threads = static_cast<int>(threads);
  calibration.took_seconds = seconds_since(start);
  calibration.waited_share = watch.waited_share();
  return calibration;
}

StepCheck check_step(const Recipe& asked, const CpuCalibration& calibration, int64_t steps,
                     const Interrupted& interrupted) {
  const WorkFolder work;
  const QuietNotes quiet;
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
  StepClock clock;
  const BusyWatch watch;
  options.on_progress = [&](const TrainProgress&) {
    clock.tick();
    check.waited_share = watch.waited_share();  // the workers are alive
  };
  options.on_profile = [&](const TrainPlan& plan, const Profile&) {
    check.predicted_seconds = predict_step_seconds(plan, calibration);
  };
  options.interrupted = interrupted;
  run_training(options);
  std::vector<StepClock::Step> measured = clock.steps();
  if (measured.empty()) return check;
  std::sort(measured.begin(), measured.end(), [](const auto& a, const auto& b) { return a.wall < b.wall; });
  check.median_seconds = measured[measured.size() / 2].wall;
  check.spread = (measured.back().wall - measured.front().wall) / check.median_seconds;
  check.measured_seconds = clock.quickest();
  return check;
}

}  // namespace plimsoll
