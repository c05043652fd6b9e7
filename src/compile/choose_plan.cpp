#include "compile/choose_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/bytes.h"
#include "base/error.h"
#include "compile/step_candidates.h"
#include "compile/suggest_changes.h"
#include "memory/storage.h"

namespace plimsoll {
namespace {

constexpr double kWorthSaying = 1.03;       // a smaller gain in speed is noise
constexpr int64_t kDefaultGlobalBatch = 4;  // rows a step when neither batch is given
constexpr int64_t kFewLayers = 8;           // of more, recomputing all or all but one takes less than recomputing none
constexpr int64_t kCloseEstimates = 50;     // one part in so many: bounds that near are told apart by plans

// What lies on disk in between; everything else is chosen under it.
struct Streaming {
  int64_t layers = 0;  // of weights
  bool inputs = false;
};

struct Ranked {
  TrainChoices choices;
  double seconds = 0;
};

class Chooser {
 public:
  Chooser(const ModelConfig& config, const Recipe& recipe, const TrainSources& sources, const PlanTarget& target)
      : recipe_(recipe), sources_(sources), target_(target), candidates_(config, recipe, sources, target) {}

  TrainPlan smallest() {
    // Bounds of the step, less what streaming takes out of what stays.
    std::vector<std::pair<int64_t, TrainChoices>> least;
    for (const Streaming& streaming : extremes()) {
      const TrainChoices choices = smallest_choices(streaming);
      least.emplace_back(candidates_.cost(choices).step_bytes - candidates_.streamed_weight_bytes(streaming.layers),
                         choices);
    }
    std::sort(least.begin(), least.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    TrainPlan plan = assemble(least.front().second);
    note_resident_bytes(plan);
    for (size_t i = 1; i < least.size(); ++i) {
      if (least[i].first - least.front().first > plan.total_bytes / kCloseEstimates) break;
      TrainPlan other = assemble(least[i].second);
      if (other.total_bytes < plan.total_bytes) plan = std::move(other);
    }
    pack_closer(plan);
    return plan;
  }

  // Resident where that fits, else the fastest of what streams. `second`: receives the runner-up.
  std::optional<TrainPlan> fastest(int64_t line, std::optional<Ranked>* second = nullptr) {
    for (const bool streams : {false, true}) {
      if (streams && recipe_.stream != StreamMode::automatic) break;
      // Where packing or another phase needs more than the bound, the limit is lowered and the search repeated.
      int64_t slack = 0;
      for (int attempt = 0; attempt < 8; ++attempt) {
        const std::vector<Ranked> found = rank(streams, line - slack, second != nullptr);
        if (found.empty()) break;
        TrainPlan plan = assemble(found.front().choices);
        if (plan.total_bytes <= line) {
          if (second != nullptr && found.size() > 1) *second = found[1];
          return plan;
        }
        const int64_t bound = target_.runtime_overhead_bytes +
                              persistent_bytes({plan.choices.streamed_layers, plan.choices.streamed_inputs}) +
                              candidates_.cost(plan.choices).step_bytes;
        slack = std::max(slack + (plan.total_bytes - line), line - bound + 1);
      }
    }
    return std::nullopt;
  }

  TrainPlan assemble(const TrainChoices& choices) {
    TrainPlan plan;
    plan.choices = choices;
    plan.grad_accum_steps = micro_steps(choices);
    plan.program = build_train_program(candidates_.base(choices.micro_batch), recipe_, sources_, choices);
    plan.run = plan_memory(std::move(plan.program.phases), target_.workspace_bytes);
    plan.program.phases.clear();
    // Before the arena there is the reading of the data; a run of few bytes may need more for that.
    plan.overhead_bytes = std::max(target_.runtime_overhead_bytes, target_.least_total_bytes - plan.run.arena_bytes);
    plan.total_bytes = plan.run.arena_bytes + plan.overhead_bytes;
    const CandidateCost& cost = candidates_.cost(choices);
    plan.predicted_seconds = cost.seconds;
    plan.compute_seconds = cost.compute_seconds;
    plan.disk_bytes_per_step = cost.disk_bytes;
    plan.calibrated = target_.rates != nullptr;
    if (cost.disk_bytes > 0 && target_.disk) plan.disk = target_.disk();
    return plan;
  }

  // Of the train step's own buffers, at the extreme of what streams that takes the fewest.
  int64_t least_step_bytes() {
    int64_t least = INT64_MAX;
    for (const Streaming& streaming : extremes())
      least = std::min(least, candidates_.cost(smallest_choices(streaming)).step_bytes);
    return least;
  }

  PlanAlternative alternative(const TrainChoices& choices) {
    const TrainPlan plan = assemble(choices);
    return {choices, plan.grad_accum_steps, plan.total_bytes, plan.predicted_seconds};
  }

 private:
  int64_t micro_steps(const TrainChoices& choices) const {
    return std::max<int64_t>(1, rows_per_step(recipe_) / choices.micro_batch);
  }

  int64_t most_streamed() const {
    const bool may = recipe_.stream != StreamMode::off && recipe_.stream != StreamMode::inputs;
    return may && trains_adapter(recipe_.method) ? candidates_.layers() : 0;
  }
  std::vector<bool> inputs_streamed() const {
    switch (recipe_.stream) {
      case StreamMode::off:
      case StreamMode::weights:
        return {false};
      case StreamMode::on:
      case StreamMode::inputs:
        return {true};
      case StreamMode::automatic:
        break;
    }
    return {false, true};
  }
  bool must_stream() const { return recipe_.stream == StreamMode::on || recipe_.stream == StreamMode::weights; }

  // All or nothing, as far as the recipe leaves it open.
  std::vector<Streaming> extremes() const {
    std::vector<Streaming> found;
    for (const bool inputs : inputs_streamed()) {
      found.push_back({most_streamed(), inputs});
      if (most_streamed() > 0 && !must_stream()) found.push_back({0, inputs});
    }
    return found;
  }

  // The least memory that this recipe can run in, as choices.
  TrainChoices smallest_choices(const Streaming& streaming) {
    const int64_t micro_batch = candidates_.micro_batches().back();
    const int64_t chunk = candidates_.chunk_sizes(micro_batch).back();
    const auto [low, high] = candidates_.recompute_range();
    // What is kept on disk takes nothing, so keeping more can be less.
    std::vector<bool> keeps = candidates_.attention_kept();
    if (!streaming.inputs) keeps.resize(1);
    std::optional<TrainChoices> best;
    for (const bool keep : keeps)
      for (const int64_t layers : {high, std::max(low, high - 1), high - low > kFewLayers ? high : low}) {
        const TrainChoices choices{micro_batch, layers, chunk, streaming.layers, keep && layers > 0, streaming.inputs};
        if (!best || candidates_.cost(choices).step_bytes < candidates_.cost(*best).step_bytes) best = choices;
      }
    return *best;
  }

  // Where the packing of the smallest plan has gaps, larger chunks of the loss may need no byte more and pack better.
  void pack_closer(TrainPlan& plan) {
    const TrainChoices smallest = plan.choices;
    const int64_t bound = candidates_.cost(smallest).step_bytes;
    for (const int64_t chunk : candidates_.chunk_sizes(smallest.micro_batch)) {
      const int64_t gap = plan.run.arena_bytes - plan.run.lower_bound_bytes;
      if (gap == 0) return;
      TrainChoices choices = smallest;
      choices.ce_chunk_rows = chunk;
      if (chunk == smallest.ce_chunk_rows || candidates_.cost(choices).step_bytes >= bound + gap) continue;
      TrainPlan other = assemble(choices);
      if (other.total_bytes < plan.total_bytes) plan = std::move(other);
    }
  }

  // From what lives across the phases of any plan.
  void note_resident_bytes(const TrainPlan& plan) {
    resident_bytes_ = candidates_.streamed_weight_bytes(plan.choices.streamed_layers);
    for (const PlannedBuffer& buffer : plan.run.persistent)
      if (buffer.category != Category::io_staging) resident_bytes_ += buffer.size_bytes;
  }

  int64_t persistent_bytes(const Streaming& streaming) {
    if (resident_bytes_ == 0) note_resident_bytes(assemble(smallest_choices({})));
    const int64_t bytes = resident_bytes_ - candidates_.streamed_weight_bytes(streaming.layers);
    return streaming.layers > 0 || streaming.inputs ? round_up(bytes, kDiskAlignment) : bytes;
  }

  int64_t step_limit(int64_t line, const Streaming& streaming) {
    return line == INT64_MAX ? line : line - target_.runtime_overhead_bytes - persistent_bytes(streaming);
  }

  // Choices that fit by their bounds, the fastest first; each of another micro-batch or way of streaming.
  std::vector<Ranked> rank(bool streams, int64_t line, bool all) {
    std::vector<Ranked> ranked;
    for (const Streaming& streaming : ways(streams, line)) add_fastest(ranked, streaming, line, all);
    std::stable_sort(ranked.begin(), ranked.end(),
                     [](const Ranked& a, const Ranked& b) { return a.seconds < b.seconds; });
    return ranked;
  }

  // Few streamed layers come before many: of equally fast ones the first is taken.
  std::vector<Streaming> ways(bool streams, int64_t line) {
    if (recipe_.stream != StreamMode::automatic) return {{most_streamed(), inputs_streamed().front()}};
    if (!streams) return {{0, false}};
    std::vector<Streaming> found = {{0, true}};
    if (most_streamed() == 0) return found;
    for (const bool inputs : {false, true}) {
      const int64_t least = fewest_layers(line, inputs);
      if (least > most_streamed()) continue;
      for (const int64_t layers : {least, (least + most_streamed()) / 2, most_streamed()})
        if (found.back().layers != layers || found.back().inputs != inputs) found.push_back({layers, inputs});
    }
    return found;
  }

  // Streamed layers that any choices fit with; more than there are when nothing fits.
  int64_t fewest_layers(int64_t line, bool inputs) {
    const auto fits = [&](int64_t layers) {
      return candidates_.cost(smallest_choices({layers, inputs})).step_bytes <= step_limit(line, {layers, inputs});
    };
    int64_t enough = most_streamed(), too_few = 0;
    if (!fits(enough)) return enough + 1;
    while (enough - too_few > 1) {
      const int64_t middle = (enough + too_few) / 2;
      (fits(middle) ? enough : too_few) = middle;
    }
    return enough;
  }

  // Adds the fastest choices of each micro-batch; unless `all`, only where they beat what is there.
  void add_fastest(std::vector<Ranked>& ranked, const Streaming& streaming, int64_t line, bool all) {
    const int64_t limit = step_limit(line, streaming);
    const auto [low, high] = candidates_.recompute_range();
    const auto beaten = [&](double seconds) {
      return !all && std::any_of(ranked.begin(), ranked.end(), [&](const Ranked& r) { return r.seconds <= seconds; });
    };
    for (const int64_t micro_batch : candidates_.micro_batches()) {
      std::optional<Ranked> best;
      for (const int64_t chunk : candidates_.chunk_sizes(micro_batch)) {
        for (const bool keep : candidates_.attention_kept()) {
          const auto at = [&](int64_t layers) {
            return TrainChoices{micro_batch, layers, chunk, streaming.layers, keep && layers > 0, streaming.inputs};
          };
          const auto fits = [&](int64_t layers) { return candidates_.cost(at(layers)).step_bytes <= limit; };
          const double least = candidates_.cost(at(low)).seconds;
          if (beaten(least) || (best && best->seconds <= least)) continue;
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
          const double seconds = candidates_.cost(at(layers)).seconds;
          if (!best || seconds < best->seconds) best = Ranked{at(layers), seconds};
        }
      }
      if (best && !beaten(best->seconds)) ranked.push_back(*best);
    }
  }

  const Recipe& recipe_;
  const TrainSources& sources_;
  const PlanTarget& target_;
  StepCandidates candidates_;
  int64_t resident_bytes_ = 0;  // of what lives across phases, with nothing on disk
};

std::string explain(const TrainPlan& plan, const Recipe& recipe, bool searched) {
  const bool free_choice = !recipe.micro_batch || recipe.recompute == RecomputeMode::automatic || !recipe.ce_chunk_rows;
  if (!free_choice) return "as given";
  if (!plan.fits) return "the least memory this recipe works in";
  if (!recipe.memory_bytes) return "chosen: fastest, no line given";
  if (!searched) return "chosen: the only one that fits";
  if ((plan.choices.streamed_layers > 0 || plan.choices.streamed_inputs) && recipe.stream == StreamMode::automatic)
    return "chosen: without streaming it would not fit";
  if (plan.more && plan.more->plan && plan.more->plan->predicted_seconds * kWorthSaying < plan.predicted_seconds)
    return fmt::format("chosen: fastest that fits; with {} it would be {:.2f} × as fast",
                       format_bytes(plan.more->plan->total_bytes),
                       plan.predicted_seconds / plan.more->plan->predicted_seconds);
  return "chosen: fastest that fits";
}

}  // namespace

int64_t rows_per_step(const Recipe& recipe) {
  return recipe.global_batch.value_or(recipe.micro_batch.value_or(kDefaultGlobalBatch));
}

TrainPlan smallest_plan(const ModelConfig& config, const Recipe& recipe, const TrainSources& sources,
                        const PlanTarget& target) {
  return Chooser(config, recipe, sources, target).smallest();
}

LeastBytes::LeastBytes(const ModelConfig& config, const Recipe& recipe, const TrainSources& sources,
                       const PlanTarget& target, const TrainPlan& plan)
    : config_(config), recipe_(recipe), sources_(sources), target_(target) {
  PLIMSOLL_CHECK(recipe.stream != StreamMode::automatic, "what streams is settled");
  persistent_bytes_ = plan.run.persistent_bytes;
  for (const ExecutionPlan& phase : plan.run.phases)
    if (phase.name() != phase_names::kTrainStep && phase.name() != phase_names::kGradientNorm &&
        phase.name() != phase_names::kEvaluate)
      other_phases_bytes_ = std::max(other_phases_bytes_, phase.arena_bytes);
}

int64_t LeastBytes::step_bytes(const ModelConfig& config, int64_t seq_len, int64_t micro_batch) const {
  Recipe recipe = recipe_;
  recipe.seq_len = seq_len;
  recipe.micro_batch = recipe.global_batch = micro_batch;
  return Chooser(config, recipe, sources_, target_).least_step_bytes();
}

int64_t LeastBytes::total_bytes(int64_t step_bytes) const {
  const int64_t arena = std::max(other_phases_bytes_, persistent_bytes_ + step_bytes);
  return std::max(arena + target_.runtime_overhead_bytes, target_.least_total_bytes);
}

int64_t LeastBytes::at(int64_t seq_len, int64_t micro_batch) const {
  return total_bytes(step_bytes(config_, seq_len, micro_batch));
}

int64_t LeastBytes::guess(int64_t seq_len, int64_t micro_batch) const {
  constexpr int64_t kFew = 4;
  const bool free_choice = recipe_.recompute == RecomputeMode::automatic || recipe_.recompute == RecomputeMode::all;
  if (config_.layers <= kFew + 2 || !free_choice || !recipe_.adapter.empty()) return at(seq_len, micro_batch);
  ModelConfig few = config_;
  few.layers = kFew;
  const int64_t less = step_bytes(few, seq_len, micro_batch);
  few.layers = kFew + 1;
  const int64_t more = step_bytes(few, seq_len, micro_batch);
  return total_bytes(more + (config_.layers - kFew - 1) * (more - less));
}

TrainPlan choose_plan(const ModelConfig& config, const Recipe& recipe, const TrainSources& sources,
                      const PlanTarget& target, bool alternatives) {
  PLIMSOLL_CHECK(!recipe.micro_batch || rows_per_step(recipe) % *recipe.micro_batch == 0,
                 "the micro-batch divides the global batch");
  const int64_t line = recipe.memory_bytes.value_or(INT64_MAX);
  Chooser chooser(config, recipe, sources, target);
  TrainPlan smallest = chooser.smallest();
  const int64_t smallest_budget = smallest.total_bytes;

  std::optional<Ranked> second;
  std::optional<TrainPlan> found = chooser.fastest(line, alternatives ? &second : nullptr);
  TrainPlan plan = found ? std::move(*found) : std::move(smallest);
  plan.smallest_budget_bytes = std::min(smallest_budget, plan.total_bytes);
  plan.fits = plan.total_bytes <= line;
  if (alternatives) {
    if (!plan.fits) plan.suggestions = suggest_changes(config, recipe, sources, target);
    if (second) plan.runner_up = chooser.alternative(second->choices);
    const auto other_line = [&](int64_t bytes) {
      OtherLine other{bytes, {}};
      if (const std::optional<TrainPlan> at = chooser.fastest(bytes))
        other.plan = PlanAlternative{at->choices, at->grad_accum_steps, at->total_bytes, at->predicted_seconds};
      return other;
    };
    if (recipe.memory_bytes) {
      plan.more = other_line(line + line / 10);
      if (plan.fits) plan.less = other_line(line - line / 10);
    }
  }
  plan.why = explain(plan, recipe, found.has_value());
  return plan;
}

}  // namespace plimsoll
