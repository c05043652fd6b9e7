#include "compile/choose_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>

#include "base/bytes.h"
#include "base/error.h"
#include "memory/live_range.h"
#include "memory/storage.h"
#include "ops/op_def.h"

namespace plimsoll {
namespace {

constexpr std::array<int64_t, 8> kChunkRows = {1024, 512, 256, 128, 64, 32, 16, 8};
constexpr int64_t kLargestMicroBatch = 64;  // rows tried; more are no faster on a CPU
constexpr double kWorthSaying = 1.03;       // a smaller gain in speed is noise
constexpr int64_t kDefaultGlobalBatch = 4;  // rows a step when neither batch is given

// Divisors of the global batch, largest first, or what the recipe says.
std::vector<int64_t> micro_batches(const Recipe& recipe) {
  if (recipe.micro_batch) return {*recipe.micro_batch};
  const int64_t global = rows_per_step(recipe);
  if (recipe.optimizer_in_backward) return {global};  // a gradient must be complete after one micro-batch
  std::vector<int64_t> divisors;
  for (int64_t rows = std::min(global, kLargestMicroBatch); rows >= 1; --rows)
    if (global % rows == 0) divisors.push_back(rows);
  return divisors;
}

std::vector<int64_t> chunk_sizes(const Recipe& recipe, int64_t rows) {
  if (recipe.ce_chunk_rows) return {std::min(*recipe.ce_chunk_rows, rows)};
  std::vector<int64_t> sizes;
  for (const int64_t size : kChunkRows)
    if (size <= rows) sizes.push_back(size);
  if (sizes.empty()) sizes.push_back(rows);
  return sizes;
}

struct Measured {
  int64_t step_bytes = 0;  // lower bound of the train step's own buffers
  double seconds = 0;      // of a whole optimizer step
  double compute_seconds = 0;
  int64_t streamed_bytes = 0;  // of a whole optimizer step
};

// Sizes and times of candidate choices, each computed once.
class Candidates {
 public:
  Candidates(const ModelConfig& config, const Recipe& recipe, const TrainSources& sources, const PlanTarget& target)
      : config_(config), recipe_(recipe), sources_(sources), target_(target) {}

  const StepBase& base(int64_t micro_batch) {
    auto found = bases_.find(micro_batch);
    if (found == bases_.end())
      found = bases_.emplace(micro_batch, build_step_base(config_, recipe_, sources_, micro_batch)).first;
    return found->second;
  }

  const Measured& measure(const TrainChoices& choices) {
    const std::array<int64_t, 4> key = {choices.micro_batch, choices.recompute_layers, choices.ce_chunk_rows,
                                        choices.streamed_layers};
    auto found = measured_.find(key);
    if (found == measured_.end()) found = measured_.emplace(key, compute(choices)).first;
    return found->second;
  }

  int64_t layers() const { return config_.layers; }

  // With the largest chunk and nothing recomputed nothing is faster for this micro-batch.
  std::pair<int64_t, int64_t> recompute_range() const {
    switch (recipe_.recompute) {
      case RecomputeMode::none:
        return {0, 0};
      case RecomputeMode::all:
        return {config_.layers, config_.layers};
      case RecomputeMode::layers:
        return {std::min(recipe_.recompute_layers, config_.layers), std::min(recipe_.recompute_layers, config_.layers)};
      case RecomputeMode::automatic:
        break;
    }
    return {0, config_.layers};
  }

 private:
  Measured compute(const TrainChoices& choices) {
    const Graph step = build_step(base(choices.micro_batch), choices);
    const StorageMap map = assign_storage(step);
    std::vector<Buffer> buffers;
    for (const Storage& storage : map.storages)
      buffers.push_back({storage.bytes, storage.alignment, storage.first, storage.last, {}});
    double seconds = 0;
    int64_t streamed = 0;
    for (size_t i = 0; i < step.ops.size(); ++i) {
      if (step.ops[i].kind == OpKind::prefetch_tensor) {
        streamed += step.value(step.ops[i].results[0]).bytes();
        continue;
      }
      const auto op = static_cast<int32_t>(i);
      if (const int64_t bytes = target_.workspace_bytes(step, step.ops[i]); bytes > 0)
        buffers.push_back({bytes, kArenaAlignment, op, op, {}});
      seconds += op_seconds(step, step.ops[i], choices);
    }
    const auto micro_steps = static_cast<double>(std::max<int64_t>(1, rows_per_step(recipe_) / choices.micro_batch));
    const bool twice = base(choices.micro_batch).fused && base(choices.micro_batch).fused->two_passes;
    const double steps = micro_steps * (twice ? 2 : 1);
    // Reading and computing go on at once.
    const double read = static_cast<double>(streamed) / target_.disk_bytes_per_second;
    return {find_live_peak(buffers).bytes, std::max(seconds, read) * steps, seconds * steps,
            streamed * static_cast<int64_t>(steps)};
  }

  // A roofline per op; every chunk of the loss reads the head again.
  double op_seconds(const Graph& step, const Op& op, const TrainChoices& choices) const {
    const OpCost cost = op_cost(step, op);
    double seconds = std::max(cost.flops / target_.flops_per_second,
                              static_cast<double>(cost.bytes_accessed) / target_.bytes_per_second);
    if (op.kind == OpKind::linear_cross_entropy_grad) {
      const double rows = static_cast<double>(step.value(op.operands[0]).shape[0]);
      const double chunks = rows / static_cast<double>(choices.ce_chunk_rows);
      seconds += chunks * 3 * static_cast<double>(step.value(op.operands[1]).bytes()) / target_.bytes_per_second;
    }
    return seconds;
  }

  const ModelConfig& config_;
  const Recipe& recipe_;
  const TrainSources& sources_;
  const PlanTarget& target_;
  std::map<int64_t, StepBase> bases_;
  std::map<std::array<int64_t, 4>, Measured> measured_;
};

// The least memory that this recipe can run in, as choices.
TrainChoices smallest_choices(Candidates& candidates, const Recipe& recipe, int64_t streamed) {
  const std::vector<int64_t> batches = micro_batches(recipe);
  const int64_t micro_batch = batches.back();
  const int64_t chunk = chunk_sizes(recipe, micro_batch * recipe.seq_len).back();
  const auto [low, high] = candidates.recompute_range();
  TrainChoices best{micro_batch, high, chunk, streamed};
  for (const int64_t layers : {high, std::max(low, high - 1), low}) {
    const TrainChoices choices{micro_batch, layers, chunk, streamed};
    if (candidates.measure(choices).step_bytes < candidates.measure(best).step_bytes) best = choices;
  }
  return best;
}

// The fastest choices whose step takes at most `limit` bytes; nullopt when none does.
std::optional<TrainChoices> fastest_within(Candidates& candidates, const Recipe& recipe, int64_t limit,
                                           int64_t streamed) {
  std::optional<TrainChoices> best;
  double best_seconds = 0;
  const auto [low, high] = candidates.recompute_range();
  for (const int64_t micro_batch : micro_batches(recipe)) {
    for (const int64_t chunk : chunk_sizes(recipe, micro_batch * recipe.seq_len)) {
      const auto fits = [&](int64_t layers) {
        return candidates.measure({micro_batch, layers, chunk, streamed}).step_bytes <= limit;
      };
      if (best && candidates.measure({micro_batch, low, chunk, streamed}).seconds >= best_seconds) continue;
      if (!fits(high) && !fits(low)) continue;
      // Fewer recomputed layers are faster; more take fewer bytes.
      int64_t layers = high;
      if (fits(low)) {
        layers = low;
      } else {
        int64_t too_few = low;
        while (layers - too_few > 1) {
          const int64_t middle = (layers + too_few) / 2;
          (fits(middle) ? layers : too_few) = middle;
        }
      }
      const double seconds = candidates.measure({micro_batch, layers, chunk, streamed}).seconds;
      if (!best || seconds < best_seconds) {
        best = TrainChoices{micro_batch, layers, chunk, streamed};
        best_seconds = seconds;
      }
    }
  }
  return best;
}

class Chooser {
 public:
  Chooser(const ModelConfig& config, const Recipe& recipe, const TrainSources& sources, const PlanTarget& target)
      : recipe_(recipe), sources_(sources), target_(target), candidates_(config, recipe, sources, target) {}

  Candidates& candidates() { return candidates_; }

  TrainPlan assemble(const TrainChoices& choices) {
    TrainPlan plan;
    plan.choices = choices;
    plan.grad_accum_steps = std::max<int64_t>(1, rows_per_step(recipe_) / choices.micro_batch);
    plan.program = build_train_program(candidates_.base(choices.micro_batch), recipe_, sources_, choices);
    plan.run = plan_memory(std::move(plan.program.phases), target_.workspace_bytes);
    plan.program.phases.clear();
    // Before the arena there is the reading of the data; a run of few bytes may need more for that.
    plan.overhead_bytes = std::max(target_.runtime_overhead_bytes, target_.least_total_bytes - plan.run.arena_bytes);
    plan.total_bytes = plan.run.arena_bytes + plan.overhead_bytes;
    const Measured& measured = candidates_.measure(choices);
    plan.predicted_seconds = measured.seconds;
    plan.compute_seconds = measured.compute_seconds;
    plan.streamed_bytes_per_step = measured.streamed_bytes;
    return plan;
  }

  // The most layers that may stream.
  int64_t most_streamed() const {
    return recipe_.stream == StreamMode::off || !trains_adapter(recipe_.method) ? 0 : candidates_.layers();
  }

  TrainPlan smallest() {
    TrainPlan plan = assemble(smallest_choices(candidates_, recipe_, most_streamed()));
    if (most_streamed() == 0 || recipe_.stream == StreamMode::on) return plan;
    TrainPlan resident = assemble(smallest_choices(candidates_, recipe_, 0));  // two layers' places may be more
    return resident.total_bytes <= plan.total_bytes ? std::move(resident) : std::move(plan);
  }

  // Resident weights where they fit, else the fewest streamed layers that do.
  std::optional<TrainPlan> fastest(int64_t line) {
    const int64_t most = most_streamed();
    if (recipe_.stream == StreamMode::on) return fastest(line, most);
    if (std::optional<TrainPlan> resident = fastest(line, 0); resident || most == 0) return resident;
    std::optional<TrainPlan> best = fastest(line, most);
    int64_t too_few = 0;
    for (int64_t enough = most; best && enough - too_few > 1;) {
      const int64_t middle = (enough + too_few) / 2;
      if (std::optional<TrainPlan> plan = fastest(line, middle)) {
        best = std::move(plan);
        enough = middle;
      } else {
        too_few = middle;
      }
    }
    return best;
  }

 private:
  // The fastest plan below the line. Choices are searched by the lower bound of the step; where packing or another
  // phase needs more than that, the limit is lowered by the difference and the search repeated.
  std::optional<TrainPlan> fastest(int64_t line, int64_t streamed) {
    if (line == INT64_MAX) return assemble(*fastest_within(candidates_, recipe_, line, streamed));
    int64_t limit = line - target_.runtime_overhead_bytes - persistent_bytes(streamed);
    for (int attempt = 0; attempt < 8; ++attempt) {
      const std::optional<TrainChoices> choices = fastest_within(candidates_, recipe_, limit, streamed);
      if (!choices) return std::nullopt;
      TrainPlan plan = assemble(*choices);
      if (plan.total_bytes <= line) return plan;
      limit = std::min(limit - (plan.total_bytes - line), candidates_.measure(*choices).step_bytes - 1);
    }
    return std::nullopt;
  }

  int64_t persistent_bytes(int64_t streamed) {
    const auto [place, is_new] = persistent_bytes_.emplace(streamed, 0);
    if (is_new) place->second = assemble(smallest_choices(candidates_, recipe_, streamed)).run.persistent_bytes;
    return place->second;
  }

  const Recipe& recipe_;
  const TrainSources& sources_;
  const PlanTarget& target_;
  Candidates candidates_;
  std::map<int64_t, int64_t> persistent_bytes_;  // by streamed layers
};

std::string explain(const TrainPlan& plan, const Recipe& recipe, bool searched) {
  const bool free_choice = !recipe.micro_batch || recipe.recompute == RecomputeMode::automatic || !recipe.ce_chunk_rows;
  if (!free_choice) return "as given";
  if (!plan.fits) return "the least memory this recipe works in";
  if (!recipe.memory_bytes) return "chosen: fastest, no line given";
  if (!searched) return "chosen: the only one that fits";
  if (plan.choices.streamed_layers > 0 && recipe.stream == StreamMode::automatic)
    return "chosen: without streaming it would not fit";
  if (plan.faster_ratio)
    return fmt::format("chosen: fastest that fits; with {} it would be {:.2f} × as fast",
                       format_bytes(plan.faster_total_bytes), *plan.faster_ratio);
  return "chosen: fastest that fits";
}

struct Change {
  std::string words;
  std::function<void(Recipe&)> apply;
};

// The few linears that adapters are put on where memory is short: queries and values, or the first linear of attention
// where a family has no such two.
std::string few_targets(const ModelConfig& config) {
  std::vector<std::string> names;
  for (const ParameterSpec& parameter : list_parameters(config)) {
    if (parameter.part != ParameterPart::attention || parameter.shape.rank() != 2) continue;
    const std::string module = parameter.name.substr(0, parameter.name.rfind('.'));
    const std::string name = module.substr(module.rfind('.') + 1);
    if (std::find(names.begin(), names.end(), name) != names.end()) break;  // the next layer
    names.push_back(name);
  }
  const auto has = [&](const char* name) { return std::find(names.begin(), names.end(), name) != names.end(); };
  if (has("q_proj") && has("v_proj")) return "q_proj,v_proj";
  return names.empty() ? "" : names.front();
}

std::vector<Change> possible_changes(const ModelConfig& config, const Recipe& recipe) {
  std::vector<Change> changes;
  const auto add = [&](std::string words, std::function<void(Recipe&)> edit) {
    changes.push_back({std::move(words), std::move(edit)});
  };
  if (recipe.recompute == RecomputeMode::none || recipe.recompute == RecomputeMode::layers)
    add("--recompute auto", [](Recipe& r) { r.recompute = RecomputeMode::automatic; });
  if (recipe.ce_chunk_rows) add("--ce-chunk-rows auto", [](Recipe& r) { r.ce_chunk_rows.reset(); });
  if (recipe.micro_batch && *recipe.micro_batch > 1)
    add(fmt::format("--micro-batch auto --global-batch {}", rows_per_step(recipe)),
        [rows = rows_per_step(recipe)](Recipe& r) {
          r.global_batch = rows;
          r.micro_batch.reset();
        });
  for (int64_t length = recipe.seq_len / 2; length >= 128 && length >= recipe.seq_len / 4; length /= 2)
    add(fmt::format("--seq-len {}", length), [length](Recipe& r) { r.seq_len = length; });
  if (recipe.precision == DType::f32) add("--precision bf16", [](Recipe& r) { r.precision = DType::bf16; });
  if (recipe.method == Method::lora) add("--method qlora", [](Recipe& r) { r.method = Method::qlora; });
  if (trains_adapter(recipe.method) && recipe.rank > 4 && recipe.adapter.empty())
    add(fmt::format("--rank {}", recipe.rank / 2), [](Recipe& r) { r.rank /= 2; });
  if (trains_adapter(recipe.method) && recipe.adapter.empty() && recipe.targets == "all-linear")
    if (const std::string targets = few_targets(config); !targets.empty())
      add("--targets " + targets, [targets](Recipe& r) { r.targets = targets; });
  if (!trains_adapter(recipe.method)) {
    const bool one_micro_batch = !recipe.micro_batch || *recipe.micro_batch == rows_per_step(recipe);
    if (!recipe.optimizer_in_backward && one_micro_batch)
      add("--optimizer-in-backward on", [](Recipe& r) { r.optimizer_in_backward = true; });
    if (recipe.optimizer == OptimizerKind::adamw && recipe.optimizer_state == DType::f32)
      add("--optimizer adamw8bit", [](Recipe& r) { r.optimizer = OptimizerKind::adamw8bit; });
    add("--optimizer sgd", [](Recipe& r) { r.optimizer = OptimizerKind::sgd; });
    add("--method lora", [](Recipe& r) { r.method = Method::lora; });
    add("--method qlora", [](Recipe& r) { r.method = Method::qlora; });
  }
  return changes;
}

// Changes that would fit, each alone; where none is enough alone, all before it together.
void suggest(TrainPlan& plan, const ModelConfig& config, const Recipe& recipe, const TrainSources& sources,
             const PlanTarget& target) {
  const int64_t line = recipe.memory_bytes.value_or(INT64_MAX);
  const auto least = [&](const Recipe& changed) {
    return Chooser(config, changed, sources, target).smallest().total_bytes;
  };
  const std::vector<Change> changes = possible_changes(config, recipe);
  for (const Change& change : changes) {
    Recipe alone = recipe;
    change.apply(alone);
    if (const int64_t total = least(alone); total <= line) plan.suggestions.push_back({change.words, total});
  }
  if (!plan.suggestions.empty()) return;
  Recipe together = recipe;
  std::string words;
  for (size_t i = 0; i < changes.size(); ++i) {
    const Change& change = changes[i];
    change.apply(together);
    const std::string flag = change.words.substr(0, change.words.find(' ') + 1);
    const bool set_again = i + 1 < changes.size() && changes[i + 1].words.starts_with(flag);
    if (set_again) continue;  // a stronger value of the same flag comes next
    words += (words.empty() ? "" : " ") + change.words;
    if (const int64_t total = least(together); total <= line) {
      plan.suggestions.push_back({words, total});
      return;
    }
  }
  if (!words.empty()) plan.suggestions.push_back({words, least(together)});
}

}  // namespace

int64_t rows_per_step(const Recipe& recipe) {
  return recipe.global_batch.value_or(recipe.micro_batch.value_or(kDefaultGlobalBatch));
}

TrainPlan choose_plan(const ModelConfig& config, const Recipe& recipe, const TrainSources& sources,
                      const PlanTarget& target) {
  PLIMSOLL_CHECK(!recipe.micro_batch || rows_per_step(recipe) % *recipe.micro_batch == 0,
                 "the micro-batch divides the global batch");
  const int64_t line = recipe.memory_bytes.value_or(INT64_MAX);
  Chooser chooser(config, recipe, sources, target);
  TrainPlan smallest = chooser.smallest();
  const int64_t smallest_budget = smallest.total_bytes;

  std::optional<TrainPlan> found = chooser.fastest(line);
  TrainPlan plan = found ? std::move(*found) : std::move(smallest);
  plan.smallest_budget_bytes = smallest_budget;
  plan.fits = plan.total_bytes <= line;
  if (!plan.fits) suggest(plan, config, recipe, sources, target);
  if (plan.fits && recipe.memory_bytes && found) {
    if (std::optional<TrainPlan> larger = chooser.fastest(line + line / 10);
        larger && larger->predicted_seconds * kWorthSaying < plan.predicted_seconds) {
      plan.faster_ratio = plan.predicted_seconds / larger->predicted_seconds;
      plan.faster_total_bytes = larger->total_bytes;
    }
  }
  plan.why = explain(plan, recipe, found.has_value());
  return plan;
}

}  // namespace plimsoll
