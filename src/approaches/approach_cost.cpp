#include "approaches/approach_cost.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "approaches/generation.h"
#include "base/bytes.h"
#include "base/error.h"
#include "cost/collective.h"
#include "engines/rank_bytes.h"

namespace plimsoll {
namespace {

struct Way {
  std::string name;
  TuneMethod method = TuneMethod::full;
  int64_t sequences = 1;  // of an example, in one step
  bool generates = false, reference = false, reward = false, value = false;
};

EngineRun run_of(const ApproachQuestion& question, const Way& way, const ModelConfig& model, int64_t devices) {
  EngineRun run;
  run.engine = "fsdp2";
  run.model = model;
  run.device = question.device->name;
  run.device_bytes = question.device->memory_bytes;
  EngineRecipe& recipe = run.recipe;
  recipe.method = way.method;
  recipe.weights = way.method == TuneMethod::qlora ? WeightFormat::nf4_double : WeightFormat::bf16;
  recipe.optimizer = EngineOptimizer::adamw_fused;
  if (way.method != TuneMethod::full) {
    recipe.lora_rank = question.lora_rank;
    recipe.lora_targets = {"all-linear"};
  }
  recipe.seq_len = question.prompt_tokens + question.answer_tokens;
  run.layout.data = devices;
  run.layout.zero_stage = devices > 1 ? 3 : 0;
  return run;
}

// States of a model that is trained, over all devices together.
ResidentModel trained_model(const ApproachQuestion& question, const Way& way, std::string_view role) {
  const EngineRun run = run_of(question, way, question.model, 1);
  const ModelShape shape = shape_of(run.model);
  const RankBytes bytes = rank_bytes(run, shape);
  return {role, static_cast<double>(shape.total_parameters()), true, bytes.weights, bytes.gradients, bytes.optimizer};
}

ResidentModel frozen_model(const ModelConfig& model, std::string_view role) {
  const auto parameters = static_cast<double>(shape_of(model).total_parameters());
  return {role, parameters, false, 2 * parameters, 0, 0};
}

std::vector<ResidentModel> resident_models(const ApproachQuestion& question, const Way& way) {
  std::vector<ResidentModel> models = {trained_model(question, way, "policy")};
  // With adapters, the reference is the base with them switched off: no copy of its own.
  if (way.reference && way.method == TuneMethod::full) models.push_back(frozen_model(question.model, "reference"));
  if (way.reward && question.reward_model) models.push_back(frozen_model(*question.reward_model, "reward"));
  if (way.value) models.push_back(trained_model(question, way, "value"));
  return models;
}

// A forward pass over sequences on D devices, weights gathered layer by layer beside it.
double score_seconds(const TimeQuestion& time, const ModelConfig& config, int64_t sequences) {
  EngineRun run = *time.run;
  run.model = config;
  run.recipe.method = TuneMethod::full;
  run.recipe.weights = WeightFormat::bf16;
  TimeQuestion question = time;
  question.run = &run;
  const ModelShape shape = shape_of(config);
  const StepParts parts = step_parts(question, shape);
  double compute = parts.embedding_sum.forward + parts.head_sum.forward;
  for (size_t g = 0; g < shape.groups.size(); ++g)
    compute += static_cast<double>(shape.groups[g].count) * parts.group_sums[g].forward;
  const Fabric fabric = fabric_of(*time.device, time.constants);
  const int64_t ranks = run.layout.data;
  double gather = 0;
  if (ranks > 1)
    gather = collective_seconds(fabric, Collective::all_gather, 2.0 * static_cast<double>(shape.total_parameters()),
                                ranks, ranks_in_node(fabric, ranks, 1));
  return static_cast<double>(ceil_div(sequences, ranks * run.recipe.micro_batch)) * std::max(compute, gather);
}

// Closed forms are off by some: a micro-batch that leaves this much is taken before a faster one that leaves less.
constexpr double kRoomyShare = 0.9;

// One way on one number of training devices: the fastest micro-batch and recomputation that fit, or why none does.
class Trial {
 public:
  Trial(const ApproachQuestion& question, const Way& way, int64_t devices)
      : question_(question), way_(way), devices_(devices), limit_(static_cast<double>(question.device->memory_bytes)) {}

  ApproachPlan run() {
    best_.name = way_.name;
    best_.models = resident_models(question_, way_);
    best_.devices = devices_;
    for (const ResidentModel& model : best_.models) resident_ += model.bytes() / static_cast<double>(devices_);
    smallest_ = -1;
    if (way_.generates && !generate()) return best_;
    const int64_t sequences = question_.batch * way_.sequences;
    for (const bool recompute : {false, true})
      for (int64_t micro = 1; micro <= std::max<int64_t>(1, std::min<int64_t>(64, sequences / devices_)); micro *= 2)
        look(micro, recompute, sequences);
    if (!best_.fits)
      best_.what_stops = fmt::format("training needs {} of {} a device at least, {} of it states", size_text(smallest_),
                                     size_text(limit_), size_text(resident_));
    return best_;
  }

 private:
  static std::string size_text(double bytes) { return format_bytes(static_cast<int64_t>(bytes)); }

  // The least devices of a generating copy that leave room for a sequence. False where none do.
  bool generate() {
    const bool apart = question_.placement == Placement::separate;
    const Fabric fabric = fabric_of(*question_.device, question_.constants);
    GenerationQuestion ask;
    ask.config = &question_.model;
    ask.model = shape_of(question_.model);
    ask.device = question_.device;
    ask.constants = question_.constants;
    ask.prompt_tokens = question_.prompt_tokens;
    ask.answer_tokens = question_.answer_tokens;
    ask.other_bytes = apart ? 0 : resident_;
    ask.weights_are_there = !apart && devices_ == 1;
    const int64_t most = apart ? fabric.node_devices : std::min(fabric.node_devices, devices_);
    for (int64_t tensor = 1; tensor <= most; tensor *= 2) {
      if (!apart && devices_ % tensor != 0) continue;
      ask.tensor = tensor;
      ask.sequences = ceil_div(question_.batch * way_.sequences * tensor, apart ? tensor : devices_);
      const Generation found = generation(ask);
      if (found.concurrent == 0) continue;
      best_.generate_tensor = tensor;
      best_.generators = apart ? tensor : 0;
      best_.concurrent = found.concurrent;
      generate_ = {"generate", found.bytes, found.seconds};
      return true;
    }
    best_.what_stops = fmt::format("generating leaves no room for a sequence: states take {} of {} a device",
                                   size_text(apart ? 0 : resident_), size_text(limit_));
    return false;
  }

  void look(int64_t micro, bool recompute, int64_t sequences) {
    EngineRun run = run_of(question_, way_, question_.model, devices_);
    run.recipe.micro_batch = micro;
    run.recipe.recompute = recompute ? RecomputeKind::full : RecomputeKind::none;
    run.recipe.grad_accum_steps = ceil_div(sequences, micro * devices_);
    const ModelShape shape = shape_of(run.model);
    const RankBytes bytes = rank_bytes(run, shape);
    const double train = resident_ + bytes.activations + bytes.workspace;
    const bool scores = way_.reference || way_.reward || way_.value;
    EngineRun forward = run;  // nothing is kept: what full recomputation has at work
    forward.recipe.recompute = RecomputeKind::full;
    const double score = scores ? resident_ + rank_bytes(forward, shape).workspace : 0;
    double peak = std::max({train, score, question_.placement == Placement::separate ? 0 : generate_.bytes});
    if (smallest_ < 0 || peak < smallest_) smallest_ = peak;
    if (peak > limit_) return;
    if (question_.placement == Placement::separate) peak = std::max(peak, generate_.bytes);
    TimeQuestion time;
    time.run = &run;
    time.device = question_.device;
    time.constants = question_.constants;
    time.habits = question_.habits;
    const double one = estimate_engine_time(time).step_seconds;
    double scoring = 0;
    if (way_.reference) scoring += score_seconds(time, question_.model, sequences);
    if (way_.reward && question_.reward_model) scoring += score_seconds(time, *question_.reward_model, sequences);
    if (way_.value) scoring += score_seconds(time, question_.model, sequences);
    const double training = one * (way_.value ? 2 : 1);
    const double step = generate_.seconds + hand_over_seconds(shape) + scoring + training;
    const bool roomy = train <= kRoomyShare * limit_;
    if (best_.fits && (roomy_ != roomy ? roomy_ : step >= best_.step_seconds)) return;
    best_.fits = true;
    roomy_ = roomy;
    best_.micro_batch = micro;
    best_.recompute = recompute;
    best_.peak_bytes = peak;
    best_.step_seconds = step;
    best_.phases.clear();
    if (way_.generates) {
      best_.phases.push_back(generate_);
      best_.phases.back().seconds += hand_over_seconds(shape);
    }
    if (scores) best_.phases.push_back({"score", score, scoring});
    best_.phases.push_back({"train", train, training});
  }

  // New weights on their way to where they generate.
  double hand_over_seconds(const ModelShape& shape) const {
    const int64_t ranks = devices_ + best_.generators;
    if (!way_.generates || ranks == 1) return 0;
    const Fabric fabric = fabric_of(*question_.device, question_.constants);
    return collective_seconds(fabric, Collective::all_gather, 2.0 * static_cast<double>(shape.total_parameters()),
                              ranks, ranks_in_node(fabric, ranks, 1));
  }

  const ApproachQuestion& question_;
  const Way& way_;
  int64_t devices_;
  double limit_, resident_ = 0, smallest_ = -1;
  ApproachPhase generate_;
  ApproachPlan best_;
  bool roomy_ = false;  // whether it leaves some room in training
};

// 1, 2, 4 … within a node, then whole nodes; both ends of the range belong to it.
std::vector<int64_t> counts(const ApproachQuestion& question) {
  const Fabric fabric = fabric_of(*question.device, question.constants);
  const int64_t joined = fabric.link > 0 ? fabric.node_devices : 1;
  const int64_t most = fabric.network > 0 ? question.most_devices : std::min(question.most_devices, joined);
  std::vector<int64_t> found;
  for (int64_t n = 1; n <= most; n = n < fabric.node_devices ? std::min(2 * n, fabric.node_devices) : 2 * n)
    if (n >= question.least_devices) found.push_back(n);
  for (const int64_t n : {question.least_devices, most})
    if (n <= most) found.push_back(n);
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

// More than were asked about: doubled until they do, then halved to the node.
int64_t devices_needed(const ApproachQuestion& question, const Way& way) {
  constexpr int64_t kMost = 4096;
  const Fabric fabric = fabric_of(*question.device, question.constants);
  if (fabric.link <= 0 || (fabric.network <= 0 && question.most_devices >= fabric.node_devices)) return 0;
  const auto fits = [&](int64_t nodes) { return Trial(question, way, nodes * fabric.node_devices).run().fits; };
  const int64_t most = fabric.network > 0 ? kMost / fabric.node_devices : 1;
  int64_t low = question.most_devices / fabric.node_devices, high = std::max<int64_t>(1, 2 * low);
  while (high <= most && !fits(high)) low = high, high *= 2;
  if (high > most) return 0;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (fits(middle) ? high : low) = middle;
  }
  return high * fabric.node_devices;
}

ApproachPlan train_plan(const ApproachQuestion& question, const Way& way) {
  ApproachPlan plan;
  plan.name = way.name;
  for (const int64_t devices : counts(question)) {
    plan = Trial(question, way, devices).run();
    if (plan.fits) break;
  }
  if (!plan.fits) plan.devices_needed = devices_needed(question, way);
  plan.steps = ceil_div(question.examples * question.epochs, question.batch);
  plan.hours = static_cast<double>(plan.steps) * plan.step_seconds / 3600;
  plan.usd = plan.hours * static_cast<double>(plan.devices + plan.generators) * question.usd_per_device_hour;
  return plan;
}

struct Served {
  int64_t devices = 0;
  double seconds_per_call = 0;  // of all its devices, at full load
  double bytes = 0;
};

Served served(const ApproachQuestion& question, int64_t prompt) {
  constexpr int64_t kAtOnce = 256;
  GenerationQuestion ask;
  ask.config = &question.model;
  ask.model = shape_of(question.model);
  ask.device = question.device;
  ask.constants = question.constants;
  ask.prompt_tokens = prompt;
  ask.answer_tokens = question.answer_tokens;
  ask.sequences = kAtOnce;
  const Fabric fabric = fabric_of(*question.device, question.constants);
  for (ask.tensor = 1; ask.tensor <= fabric.node_devices && can_join(*ask.device, ask.constants, ask.tensor);
       ask.tensor *= 2) {
    const Generation found = generation(ask);
    if (found.concurrent > 0) return {ask.tensor, found.seconds / kAtOnce, found.bytes};
  }
  return {};
}

}  // namespace

std::vector<ApproachPlan> compare_approaches(const ApproachQuestion& question) {
  constexpr int64_t kMostDevices = 1 << 16;
  if (question.least_devices < 1 || question.most_devices < question.least_devices ||
      question.most_devices > kMostDevices)
    throw caller_error("--devices", fmt::format("{} to {}", question.least_devices, question.most_devices),
                       fmt::format("a range from 1 to {}, as in h100-80g:1..64", kMostDevices));
  const TuneMethod by = question.reinforcement;
  const std::array<Way, 6> ways = {{{"full", TuneMethod::full},
                                    {"LoRA", TuneMethod::lora},
                                    {"QLoRA", TuneMethod::qlora},
                                    {"DPO", by, 2, false, true},
                                    {"GRPO", by, question.group, true, true, true},
                                    {"PPO", by, 1, true, true, true, true}}};
  std::vector<ApproachPlan> plans;
  const Served by_prompt = served(question, question.prompt_tokens + question.instruction_tokens);
  const Served trained = served(question, question.prompt_tokens);
  const auto usd_of = [&](const Served& from) {
    return from.seconds_per_call / 3600 * static_cast<double>(from.devices) * question.usd_per_device_hour;
  };
  ApproachPlan prompt;
  prompt.name = "prompt only";
  prompt.models = {frozen_model(question.model, "policy")};
  prompt.fits = by_prompt.devices > 0;
  prompt.peak_bytes = by_prompt.bytes;
  prompt.serve_devices = by_prompt.devices;
  prompt.usd_per_call = usd_of(by_prompt);
  if (!prompt.fits) prompt.what_stops = "no node of these devices holds the model and one prompt";
  plans.push_back(prompt);
  for (const Way& way : ways) {
    ApproachPlan plan = train_plan(question, way);
    plan.serve_devices = trained.devices;
    plan.usd_per_call = usd_of(trained);
    if (plan.fits && plan.usd > 0 && prompt.fits && trained.devices > 0 && prompt.usd_per_call > plan.usd_per_call)
      plan.calls_even = plan.usd / (prompt.usd_per_call - plan.usd_per_call);
    plans.push_back(std::move(plan));
  }
  return plans;
}

}  // namespace plimsoll
