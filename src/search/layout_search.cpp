#include "search/layout_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <tuple>

#include "base/bytes.h"
#include "base/error.h"
#include "base/figures.h"
#include "engines/engine_profile.h"
#include "engines/stack_memory.h"

namespace plimsoll {
namespace {

constexpr int64_t kMostDevices = 1 << 16;
constexpr int64_t kEachNumber = 512;           // devices
constexpr int64_t kShortestPart = 2048;        // tokens of a sequence on one context rank, at least
constexpr size_t kFastest = 8, kSmallest = 8;  // plans that the engine profile is asked about
constexpr double kDoubtful = 1.35;  // of the memory, by the closed form: no profile was seen below 1 / 1.35 of it

bool smaller(const LayoutPlan& a, const LayoutPlan& b) { return a.bytes.total() < b.bytes.total(); }

// What depends on this much of a layout only.
using SettingKey = std::tuple<int64_t, int64_t, int64_t, int64_t>;  // tensor, context, expert, micro-batch
struct Setting {
  StepParts parts[2];  // without and with recompute
  std::vector<LayerBytes> layers;
};
using PipelineKey =
    std::tuple<SettingKey, bool, int64_t, int64_t, int64_t>;  // recompute, stages, chunks, micro-batches

class Searcher {
 public:
  explicit Searcher(const SearchProblem& problem)
      : problem_(problem), run_(problem.base), model_(shape_of(run_.model)) {
    question_.run = &run_;
    question_.device = problem.device;
    question_.habits = problem.habits;
    question_.constants = problem.constants;
    fabric_ = fabric_of(*problem.device, problem.constants);
    most_in_node_ = fabric_.node_devices;
    joined_ = fabric_.network > 0;
    limit_ = static_cast<double>(problem.device->memory_bytes);
  }

  LayoutSearch run();

 private:
  void count(int64_t devices);
  int64_t next(int64_t devices) const;
  void layout(int64_t tensor, int64_t pipeline, int64_t context, int64_t expert, int64_t data);
  void look(int64_t virtual_stages, int zero_stage, RecomputeKind recompute, int64_t micro_batch);
  const Setting& setting();
  double pipeline(const Setting& setting, PipelineProblem& problem);
  void take(LayoutPlan plan);
  void confirm();
  void find_sure();
  void doubt();
  std::string overruled_text(const LayoutPlan& plan) const;
  std::string smallest_text(const LayoutPlan& plan) const;
  bool can_cut(int64_t tensor) const;
  bool allowed(const LayoutPlan& plan) const {
    return (problem_.deadline_hours <= 0 || plan.hours <= problem_.deadline_hours) &&
           (problem_.most_usd <= 0 || plan.usd <= problem_.most_usd);
  }

  const SearchProblem& problem_;
  EngineRun run_;
  ModelShape model_;
  TimeQuestion question_;
  Fabric fabric_;
  int64_t most_in_node_ = 1;
  bool joined_ = false;
  double limit_ = 0;
  std::map<SettingKey, Setting> settings_;
  std::map<PipelineKey, double> pipelines_;
  const Setting* setting_ = nullptr;
  SettingKey key_;

  LayoutSearch result_;
  // Of one number of devices, only where an engine profile has the last word: what fits, and what nearly does.
  std::vector<LayoutPlan> candidates_, doubtful_;
  std::optional<LayoutPlan> fastest_, smallest_, refused_, overruled_;  // of one number of devices
};

bool Searcher::can_cut(int64_t tensor) const {
  for (const auto& [shape, layers] : model_.groups) {
    if (shape.heads % tensor != 0 || (shape.kv_heads % tensor != 0 && tensor % shape.kv_heads != 0)) return false;
    if (shape.ffn % tensor != 0 || shape.expert_ffn % tensor != 0) return false;
  }
  return true;
}

const Setting& Searcher::setting() {
  const SettingKey key{run_.layout.tensor, run_.layout.context, run_.layout.expert, run_.recipe.micro_batch};
  if (setting_ != nullptr && key == key_) return *setting_;
  auto [at, fresh] = settings_.try_emplace(key);
  if (fresh) {
    const RecomputeKind now = run_.recipe.recompute;
    for (const bool again : {false, true}) {
      run_.recipe.recompute = again ? RecomputeKind::full : RecomputeKind::none;
      at->second.parts[again ? 1 : 0] = step_parts(question_, model_);
    }
    run_.recipe.recompute = now;
    for (const LayerGroup& group : model_.groups) at->second.layers.push_back(layer_bytes(run_, model_, group.shape));
  }
  key_ = key;
  setting_ = &at->second;
  return *setting_;
}

double Searcher::pipeline(const Setting& setting, PipelineProblem& problem) {
  const bool again = run_.recipe.recompute == RecomputeKind::full;
  problem = pipeline_problem(question_, model_, setting.parts[again ? 1 : 0]);
  if (problem.chunks.size() == 1) return pipeline_seconds(problem);
  const PipelineKey key{key_, again, problem.stages, static_cast<int64_t>(problem.chunks.size()),
                        problem.micro_batches};
  const auto [at, fresh] = pipelines_.try_emplace(key, 0.0);
  if (fresh) at->second = pipeline_seconds(problem);
  return at->second;
}

void Searcher::look(int64_t virtual_stages, int zero_stage, RecomputeKind recompute, int64_t micro_batch) {
  EngineLayout& layout = run_.layout;
  layout.virtual_stages = virtual_stages;
  layout.zero_stage = zero_stage;
  run_.recipe.recompute = recompute;
  run_.recipe.micro_batch = micro_batch;
  run_.recipe.grad_accum_steps = ceil_div(problem_.global_batch, micro_batch * layout.data);
  ++result_.layouts;
  LayoutPlan plan;
  plan.layout = layout;
  plan.micro_batch = micro_batch;
  plan.grad_accum_steps = run_.recipe.grad_accum_steps;
  plan.recompute = recompute;
  const Setting& known = setting();
  plan.bytes = rank_bytes(run_, model_, known.layers);
  if (!smallest_ || plan.bytes.total() < smallest_->bytes.total()) smallest_ = plan;
  if (plan.bytes.total() > limit_) {
    if (problem_.confirm && plan.bytes.total() <= kDoubtful * limit_) doubtful_.push_back(plan);
    return;
  }
  ++result_.fitting;
  take(plan);
}

void Searcher::take(LayoutPlan plan) {
  PipelineProblem chunks;
  const double pipeline_time = pipeline(setting(), chunks);
  plan.step_seconds = step_seconds_of(question_, model_, chunks, pipeline_time);
  const double tokens =
      static_cast<double>(plan.micro_batch * plan.grad_accum_steps * plan.layout.data * run_.recipe.seq_len);
  plan.tokens_per_second = tokens / plan.step_seconds;
  plan.hours = (problem_.tokens > 0 ? problem_.tokens : tokens) / plan.tokens_per_second / 3600;
  plan.usd = plan.hours * static_cast<double>(plan.devices()) * problem_.usd_per_device_hour;
  const auto faster = [&](const std::optional<LayoutPlan>& than) {
    return !than || plan.tokens_per_second > than->tokens_per_second;
  };
  if (!allowed(plan)) {
    if (faster(refused_)) refused_ = plan;
  } else {
    if (problem_.confirm) candidates_.push_back(plan);
    if (faster(fastest_)) fastest_ = plan;
  }
}

// Where nothing passes both, the profile is asked about the smallest few that the closed form nearly lets pass: some
// stacks hold less than it counts (DeepSpeed adds gradients up in 16 bits).
void Searcher::doubt() {
  const size_t few = std::min(kSmallest, doubtful_.size());
  std::partial_sort(doubtful_.begin(), doubtful_.begin() + static_cast<std::ptrdiff_t>(few), doubtful_.end(), smaller);
  for (size_t i = 0; i < few; ++i) {
    LayoutPlan& plan = doubtful_[i];
    plan.engine_bytes = engine_bytes(problem_, plan);
    ++result_.confirmed;
    if (!plan.engine_bytes || static_cast<double>(plan.engine_bytes->bytes) > limit_) continue;
    run_ = run_of(problem_, plan);
    take(plan);
  }
  if (few > 0 && !overruled_) smallest_ = doubtful_.front();
}

// The first number of devices on which nobody need hope: of its winner and its smallest plan.
void Searcher::find_sure() {
  const auto sure = [&](const std::optional<LayoutPlan>& plan) {
    return plan && plan->engine_bytes && static_cast<double>(plan->engine_bytes->high) <= limit_;
  };
  if (sure(fastest_)) {
    result_.sure = fastest_;
    return;
  }
  if (candidates_.empty()) return;
  LayoutPlan least = *std::min_element(candidates_.begin(), candidates_.end(), smaller);
  if (!least.engine_bytes) least.engine_bytes = engine_bytes(problem_, least);
  if (sure(least)) result_.sure = least;
}

// The profile is asked about the fastest few and the smallest few; the fastest that it lets pass wins.
void Searcher::confirm() {
  const auto faster = [](const LayoutPlan& a, const LayoutPlan& b) {
    return a.tokens_per_second > b.tokens_per_second;
  };
  std::stable_sort(candidates_.begin(), candidates_.end(), faster);
  const size_t first = std::min(kFastest, candidates_.size());
  const auto rest = candidates_.begin() + static_cast<std::ptrdiff_t>(first);
  const size_t second = std::min(kSmallest, candidates_.size() - first);
  std::partial_sort(rest, rest + static_cast<std::ptrdiff_t>(second), candidates_.end(), smaller);
  candidates_.resize(first + second);
  std::stable_sort(candidates_.begin(), candidates_.end(), faster);  // of equals the one that was found first
  fastest_.reset();
  for (LayoutPlan& plan : candidates_) {
    plan.engine_bytes = engine_bytes(problem_, plan);
    ++result_.confirmed;
    if (!plan.engine_bytes || static_cast<double>(plan.engine_bytes->bytes) <= limit_) {
      fastest_ = plan;
      break;
    }
    ++result_.overruled;
    if (!overruled_ || plan.engine_bytes->bytes < overruled_->engine_bytes->bytes) overruled_ = plan;
  }
}

void Searcher::layout(int64_t tensor, int64_t pipeline, int64_t context, int64_t expert, int64_t data) {
  run_.layout = problem_.base.layout;
  run_.layout.tensor = tensor;
  run_.layout.pipeline = pipeline;
  run_.layout.context = context;
  run_.layout.expert = expert;
  run_.layout.data = data;
  run_.layout.sequence_parallel = tensor > 1;
  if (problem_.keep_batch && problem_.micro_batch.value_or(1) * data > problem_.global_batch) return;
  for (int64_t micro_batch = 1; micro_batch * data <= std::max(problem_.global_batch, data); micro_batch *= 2) {
    const int64_t size = problem_.micro_batch.value_or(micro_batch);
    for (const RecomputeKind recompute : {RecomputeKind::none, RecomputeKind::full}) {
      if (problem_.recompute && *problem_.recompute != recompute) continue;
      for (int64_t v = 1; v <= 4; v *= 2) {
        if (v > 1 && (pipeline == 1 || !problem_.limits.virtual_stages || pipeline * v > model_.layers)) break;
        for (int zero = 0; zero <= 3; ++zero) {
          if (zero > 0 && data * context == 1) break;
          const bool cuts = data * context > 1;
          if (cuts && !problem_.limits.zero[static_cast<size_t>(zero)]) continue;
          if (zero >= 2 && pipeline > 1) break;  // gradients and weights would travel with every micro-batch
          look(v, zero, recompute, size);
        }
      }
    }
    if (problem_.micro_batch || micro_batch >= 64) break;
  }
}

void Searcher::count(int64_t devices) {
  fastest_.reset(), smallest_.reset(), refused_.reset(), overruled_.reset();
  candidates_.clear(), doubtful_.clear();
  if ((devices > most_in_node_ && !joined_) || (devices > 1 && fabric_.link <= 0)) return;
  if (problem_.limits.most_devices > 0 && devices > problem_.limits.most_devices) return;
  for (int64_t tensor = 1; tensor <= std::min(devices, most_in_node_); ++tensor) {
    if (devices % tensor != 0 || !can_cut(tensor) || (tensor > 1 && !problem_.limits.tensor)) continue;
    for (int64_t pipeline = 1; pipeline <= std::min(devices / tensor, model_.layers); ++pipeline) {
      if ((devices / tensor) % pipeline != 0 || (pipeline > 1 && !problem_.limits.pipeline)) continue;
      const int64_t rest = devices / tensor / pipeline;
      for (int64_t context = 1; context <= rest; context *= 2) {
        if (context > 1 && !problem_.limits.context) break;
        if (rest % context != 0 || (context > 1 && run_.recipe.seq_len / context < kShortestPart)) break;
        const int64_t data = rest / context;
        int64_t experts = 0;
        if (problem_.limits.expert)
          for (const auto& [shape, layers] : model_.groups) experts = std::max(experts, shape.experts);
        for (int64_t expert = 1; expert <= data; ++expert)
          if (data % expert == 0 && (expert == 1 || (experts > 0 && experts % expert == 0)))
            layout(tensor, pipeline, context, expert, data);
      }
    }
  }
}

bool dominates(const LayoutPlan& a, const LayoutPlan& b) {
  const bool as_good = a.hours <= b.hours && a.usd <= b.usd && a.devices() <= b.devices();
  return as_good && (a.hours < b.hours || a.usd < b.usd || a.devices() < b.devices());
}

std::string gib(double bytes) { return fmt::format("{:.1f} GiB", bytes / static_cast<double>(kGiB)); }

std::string Searcher::overruled_text(const LayoutPlan& plan) const {
  return fmt::format("on {} the engine's own profile needs {} of {} a device", plan.devices(),
                     gib(static_cast<double>(plan.engine_bytes->bytes)), gib(limit_));
}

std::string Searcher::smallest_text(const LayoutPlan& plan) const {
  const std::string by_engine = plan.engine_bytes ? fmt::format(" ({} by the engine's own profile)",
                                                                gib(static_cast<double>(plan.engine_bytes->bytes)))
                                                  : "";
  return fmt::format("on {} the smallest layout needs {} of {} a device{}", plan.devices(), gib(plan.bytes.total()),
                     gib(limit_), by_engine);
}

// The next number of devices. Of wide ranges beyond kEachNumber only whole nodes are looked at, some hundred numbers
// for each doubling: what is between them divides no better.
int64_t Searcher::next(int64_t devices) const {
  if (problem_.most_devices - problem_.least_devices <= 2 * kEachNumber || devices < kEachNumber) return devices + 1;
  const auto doublings = std::bit_floor(static_cast<uint64_t>(devices / kEachNumber));
  const int64_t step = most_in_node_ * static_cast<int64_t>(doublings);
  const int64_t whole = (devices / step + 1) * step;
  return devices < problem_.most_devices ? std::min(whole, problem_.most_devices) : whole;
}

LayoutSearch Searcher::run() {
  std::optional<LayoutPlan> before_smallest, before_refused, before_overruled;
  int64_t before = 0;
  for (int64_t devices = problem_.least_devices; devices <= problem_.most_devices; devices = next(devices)) {
    count(devices);
    if (problem_.confirm && fastest_) confirm();
    if (problem_.confirm && fastest_ && !result_.sure) find_sure();
    if (!fastest_ && !refused_) doubt();
    if (!result_.by_bytes) result_.by_bytes = fastest_ ? fastest_ : refused_;
    if (fastest_) {
      if (!result_.least) {
        result_.least = fastest_;
        if (before > 0 && before_refused) {
          result_.nearest = before_refused;
          result_.what_stops =
              problem_.deadline_hours > 0 && before_refused->hours > problem_.deadline_hours
                  ? fmt::format("on {} it fits, but takes {} at best", before,
                                format_seconds(3600 * before_refused->hours))
                  : fmt::format("on {} it fits, but costs {} USD at least", before, format_usd(before_refused->usd));
        } else if (before > 0 && before_overruled) {
          result_.nearest = before_overruled;
          result_.what_stops = overruled_text(*before_overruled);
        } else if (before > 0 && before_smallest) {
          result_.nearest = before_smallest;
          const RankBytes& bytes = before_smallest->bytes;
          result_.what_stops = fmt::format("{}: weights {}, gradients {}, optimizer {}, activations {}, workspace {}",
                                           smallest_text(*before_smallest), gib(bytes.weights), gib(bytes.gradients),
                                           gib(bytes.optimizer), gib(bytes.activations), gib(bytes.workspace));
        }
      }
      result_.best.push_back(*fastest_);
    }
    before = devices;
    before_smallest = smallest_;
    before_refused = refused_;
    before_overruled = overruled_;
  }
  if (!result_.least && before_overruled && !before_refused) {
    result_.nearest = before_overruled;
    result_.what_stops = overruled_text(*before_overruled);
  } else if (!result_.least && before_smallest) {
    result_.nearest = before_refused ? before_refused : before_smallest;
    result_.what_stops = before_refused ? fmt::format("on {} the fastest layout takes {}{}", before,
                                                      format_seconds(3600 * before_refused->hours),
                                                      problem_.most_usd > 0 && before_refused->usd > 0
                                                          ? fmt::format(" and {} USD", format_usd(before_refused->usd))
                                                          : "")
                                        : smallest_text(*before_smallest);
  }
  for (const LayoutPlan& plan : result_.best)
    if (std::none_of(result_.best.begin(), result_.best.end(),
                     [&](const LayoutPlan& other) { return dominates(other, plan); }))
      result_.pareto.push_back(plan);
  return result_;
}

}  // namespace

LayoutSearch search_layouts(const SearchProblem& problem) {
  if (problem.least_devices < 1 || problem.most_devices < problem.least_devices || problem.most_devices > kMostDevices)
    throw caller_error("--devices", fmt::format("{} to {}", problem.least_devices, problem.most_devices),
                       fmt::format("a range from 1 to {}, as in h100-80g:1..64", kMostDevices));
  if (problem.device->memory_bytes <= 0)
    throw caller_error(problem.device->name, "the catalogue does not say how much memory it has",
                       "add memory to a devices.csv of your own and give it with --catalog");
  require_adapters(problem.base);
  return Searcher(problem).run();
}

EngineRun run_of(const SearchProblem& problem, const LayoutPlan& plan) {
  EngineRun run = problem.base;
  run.layout = plan.layout;
  run.recipe.micro_batch = plan.micro_batch;
  run.recipe.grad_accum_steps = plan.grad_accum_steps;
  run.recipe.recompute = plan.recompute;
  run.device = problem.device->name;
  run.device_bytes = problem.device->memory_bytes;
  return run;
}

EngineRun engine_run_of(const SearchProblem& problem, const LayoutPlan& plan) {
  EngineRun run = run_of(problem, plan);
  const EngineLayout& layout = run.layout;
  if (!problem.profile_engine.empty()) run.engine = problem.profile_engine;
  const StackMemory& asked = stack_memory(run.engine);
  const bool cuts_context = asked.profile == MemoryProfile::sharded && !asked.master_weights;
  const bool cuts =
      layout.tensor > 1 || layout.pipeline > 1 || layout.expert > 1 || (layout.context > 1 && !cuts_context);
  if (cuts && asked.profile != MemoryProfile::megatron) run.engine = "megatron";
  // Mixed precision, as the closed form counts it and as it is exported: f32 shards, or f32 weights under autocast.
  const StackMemory& stack = stack_memory(run.engine);
  EngineRecipe& recipe = run.recipe;
  const bool torch = stack.profile == MemoryProfile::torch || stack.profile == MemoryProfile::sharded;
  if (torch && !stack.master_weights && recipe.method == TuneMethod::full && recipe.weights == WeightFormat::bf16 &&
      !recipe.half_states) {
    const bool shards = layout.zero_stage >= 2 && layout.devices() > 1;
    recipe.weights = WeightFormat::f32;
    recipe.compute = shards ? ComputeMode::bf16 : ComputeMode::amp_bf16;
  }
  return run;
}

std::optional<ByteInterval> engine_bytes(const SearchProblem& problem, const LayoutPlan& plan) {
  try {
    return estimate_engine_memory(engine_run_of(problem, plan)).device_used;
  } catch (const Error&) {
    return std::nullopt;  // a family or a recipe that the profile lacks
  }
}

std::string layout_text(const LayoutPlan& plan) {
  const EngineLayout& layout = plan.layout;
  std::string text;
  const auto add = [&](std::string_view name, int64_t size) {
    if (size > 1) text += fmt::format("{}{} {}", text.empty() ? "" : " · ", name, size);
  };
  add("data", layout.data);
  add("tensor", layout.tensor);
  add("pipeline", layout.pipeline);
  add("context", layout.context);
  add("expert", layout.expert);
  if (text.empty()) text = "one device";
  if (layout.virtual_stages > 1) text += fmt::format(", {} chunks a stage", layout.virtual_stages);
  if (layout.zero_stage > 0) text += fmt::format(", ZeRO-{}", layout.zero_stage);
  text += fmt::format(", {} × {}", plan.micro_batch, plan.grad_accum_steps);
  if (plan.recompute == RecomputeKind::full) text += ", recompute";
  return text;
}

}  // namespace plimsoll
