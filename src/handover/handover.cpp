#include "handover/handover.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "base/words.h"
#include "handover/handover_text.h"

namespace plimsoll {
namespace {

using Json = nlohmann::ordered_json;

[[noreturn]] void unknown_target(std::string_view target) {
  std::vector<std::string_view> names;
  std::string all;
  for (const HandoverTarget& each : handover_targets()) {
    names.push_back(each.name);
    all += (all.empty() ? "" : ", ") + std::string(each.name);
  }
  const std::string_view near = nearest_name(target, names);
  throw caller_error(fmt::format("--to {}", one_line(target, 40)), "is no engine that a plan can be handed to",
                     near.empty() ? all : fmt::format("{}; all: {}", near, all));
}

std::string in_json(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

constexpr const char* kMakePlan = "plimsoll search MODEL --devices … --json > plan.json";
constexpr int64_t kMostDevices = 1 << 16;

// What the plan holds becomes text that other programs run, and numbers that are multiplied: each field is one of a few
// words or lies between bounds.
struct PlanReader {
  std::string source;  // for errors

  [[noreturn]] void refuse(const std::string& problem, const char* way_out = "search again") const {
    throw caller_error(source, problem, way_out);
  }

  int64_t within(const Json& from, const char* name, int64_t least, int64_t most) const {
    const Json& value = from.at(name);
    if (!value.is_number_integer() || value.get<double>() < static_cast<double>(least) ||
        value.get<double>() > static_cast<double>(most))
      refuse(fmt::format("{} is {}", name, one_line(in_json(value), 40)));
    return value.get<int64_t>();
  }

  std::string one_of(const Json& from, const char* name, std::initializer_list<std::string_view> known) const {
    std::string value = from.at(name).get<std::string>();
    if (std::find(known.begin(), known.end(), value) == known.end())
      refuse(fmt::format("{} is {}", name, one_line(value, 40)));
    return value;
  }

  // The best one on so many devices; with 0 the fastest of all.
  const Json& choose(const Json& document, int64_t devices) const {
    if (document.value("kind", "") != "search") refuse("is no plan of a search", kMakePlan);
    const auto speed = [](const Json& each) { return each.at("tokens_per_second").get<double>(); };
    const Json* chosen = nullptr;
    for (const Json& each : document.at(devices > 0 ? "best" : "pareto"))
      if (devices > 0 ? each.at("devices").get<int64_t>() == devices
                      : chosen == nullptr || speed(each) > speed(*chosen))
        chosen = &each;
    if (chosen == nullptr)
      refuse(devices > 0 ? fmt::format("has no plan on {} devices", devices) : "has no plan that works",
             "search again with other --devices");
    return *chosen;
  }

  void read_recipe(const Json& document, HandoverPlan& plan) const {
    const Json& recipe = document.at("recipe");
    plan.model = document.at("model").get<std::string>();
    plan.device = document.at("device").get<std::string>();
    plan.targets = split_list(recipe.at("targets").get<std::string>(), ',');
    plan.method = one_of(recipe, "method", {"full", "lora"});
    plan.base = one_of(recipe, "base", {"16bit", "8bit", "4bit"});
    plan.rank = within(recipe, "rank", 1, 1 << 24);
    plan.seq_len = within(recipe, "seq_len", 1, 1 << 30);
  }

  void read_layout(const Json& document, const Json& chosen, HandoverPlan& plan) const {
    const Json& layout = chosen.at("layout");
    plan.data = within(layout, "data", 1, kMostDevices);
    plan.tensor = within(layout, "tensor", 1, kMostDevices);
    plan.pipeline = within(layout, "pipeline", 1, kMostDevices);
    plan.context = within(layout, "context", 1, kMostDevices);
    plan.expert = within(layout, "expert", 1, kMostDevices);
    plan.zero_stage = within(layout, "zero_stage", 0, 3);
    plan.virtual_stages = within(layout, "virtual_stages", 1, kMostDevices);
    plan.micro_batch = within(chosen, "micro_batch", 1, 1 << 22);
    plan.grad_accum_steps = within(chosen, "grad_accum_steps", 1, 1 << 22);
    plan.recompute = one_of(chosen, "recompute", {"none", "full"}) == "full";
    if (document.contains("layers")) plan.layers = within(document, "layers", 0, 1 << 20);
    if (document.contains("node_devices")) plan.node_devices = within(document, "node_devices", 1, kMostDevices);
    // Each factor is at most 2^16, and so is each product before the next.
    int64_t together = 1;
    for (const int64_t size : {plan.data, plan.tensor, plan.pipeline, plan.context})
      if (together *= size; together > kMostDevices)
        refuse(fmt::format("its layout takes more than {} devices", kMostDevices));
    if (const int64_t chunks = plan.pipeline * plan.virtual_stages;
        chunks > 1 && plan.layers > 0 && chunks > plan.layers)
      refuse(fmt::format("{} stages are more than {} layers", chunks, plan.layers));
  }
};

// Hours and steps, where the search was given --tokens; without them it counts one step.
void read_duration(const Json& chosen, HandoverPlan& plan) {
  const auto number = [&](const char* name) {
    return chosen.contains(name) && chosen.at(name).is_number() ? chosen.at(name).get<double>() : 0.0;
  };
  const double hours = number("hours"), step = number("step_seconds");
  if (!(step > 0 && hours * 3600 > 1.5 * step && hours < 1e6 && hours * 3600 / step < 1e12)) return;
  plan.hours = hours;
  plan.steps = std::llround(hours * 3600 / step);
}

}  // namespace

namespace handover {

std::string in_quotes(std::string_view text) { return in_json(std::string(text)); }

std::string quoted_list(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "" : ", ") + in_quotes(item);
  return "[" + text + "]";
}

void refuse(std::string_view engine, const std::string& what, const std::string& way_out) {
  throw caller_error(fmt::format("--to {}", engine), "cannot start this plan: " + one_line(what), way_out);
}

void require_data_only(const HandoverPlan& plan, std::string_view engine) {
  if (plan.tensor > 1 || plan.pipeline > 1 || plan.context > 1 || plan.expert > 1)
    refuse(engine, "it cuts the model by tensor, pipeline, context or expert parallelism",
           "--to megatron or torchtitan, or a plan of data parallelism alone (search --for TARGET)");
}

void require_even_nodes(const HandoverPlan& plan, std::string_view engine) {
  const auto even = [&](int64_t devices) {
    return devices % ((devices + plan.node_devices - 1) / plan.node_devices) == 0;
  };
  const int64_t devices = plan.devices();
  if (even(devices)) return;
  int64_t below = devices - 1, above = devices + 1;
  while (!even(below)) --below;
  while (!even(above)) ++above;
  refuse(engine,
         fmt::format("{} devices do not divide into {} nodes of at most {}", devices, plan.nodes(), plan.node_devices),
         fmt::format("--devices {} or {}, where the search has a plan on so many", below, above));
}

}  // namespace handover

const std::vector<HandoverTarget>& handover_targets() {
  static const std::vector<HandoverTarget> kTargets = {
      {"deepspeed", "ds_config.json", "DeepSpeed's configuration"},
      {"accelerate-fsdp", "accelerate.yaml", "for accelerate launch --config_file"},
      {"torchtitan", "torchtitan.sh", "a call of torchtitan.train"},
      {"megatron", "megatron.args", "arguments of Megatron-LM's pretrain_gpt.py"},
      {"axolotl", "axolotl.yaml", "for axolotl train"},
      {"llama-factory", "llama_factory.yaml", "for llamafactory-cli train"},
      {"unsloth", "unsloth.yaml", "for unsloth train --config"},
      {"torchtune", "torchtune.yaml", "for tune run RECIPE --config"},
      {"slurm", "plimsoll.sbatch", "starts torchrun on every node"},
      {"kubernetes", "job.yaml", "an indexed Job"},
      {"skypilot", "sky.yaml", "a task"}};
  return kTargets;
}

HandoverPlan parse_search_plan(const std::string& json, const std::string& source, int64_t devices) {
  try {
    const PlanReader reader{one_line(source, 120)};
    const Json document = Json::parse(json);
    const Json& chosen = reader.choose(document, devices);
    HandoverPlan plan;
    reader.read_recipe(document, plan);
    reader.read_layout(document, chosen, plan);
    read_duration(chosen, plan);
    return plan;
  } catch (const nlohmann::json::exception& error) {
    throw caller_error(one_line(source, 120), std::string("is no plan: ") + error.what(), kMakePlan);
  }
}

LayoutLimits handover_limits(std::string_view target) {
  constexpr LayoutLimits kData = {
      .tensor = false, .pipeline = false, .context = false, .expert = false, .virtual_stages = false};
  LayoutLimits limits;
  if (target == "deepspeed" || target == "llama-factory") {
    limits = kData;
  } else if (target == "accelerate-fsdp") {
    limits = kData;
    limits.zero = {true, false, true, true};
  } else if (target == "unsloth") {
    limits = kData;
    limits.most_devices = 1;
  } else if (target == "axolotl") {
    limits.pipeline = limits.expert = false;
    limits.zero = {true, false, true, true};
  } else if (target == "torchtune") {
    limits = kData;
    limits.zero = {false, false, true, true};
  } else if (target == "torchtitan") {
    limits.zero = {true, false, true, true};
    limits.virtual_stages = false;  // only where they divide the layers
  } else if (target == "megatron") {
    limits.zero = {true, true, false, false};
  } else {
    const std::vector<HandoverTarget>& all = handover_targets();
    if (std::none_of(all.begin(), all.end(), [&](const HandoverTarget& each) { return each.name == target; }))
      unknown_target(target);
  }
  return limits;
}

std::vector<std::string> handover_notes(const HandoverPlan& plan, std::string_view target) {
  std::vector<std::string> notes;
  const bool processes = target == "slurm" || target == "kubernetes" || target == "skypilot";
  if (processes)
    notes.push_back(fmt::format(
        "{} starts the processes; layout, {} rows × {} times a step and the model are your script's: export to its "
        "engine, too",
        target, plan.micro_batch, plan.grad_accum_steps));
  const bool without_key = processes || target == "deepspeed" || (target == "accelerate-fsdp" && plan.zero_stage == 0);
  if (plan.recompute && without_key)
    notes.push_back(
        "the plan fits only with recomputation: switch gradient checkpointing on in your trainer "
        "(transformers: gradient_checkpointing=True)");
  if ((target == "deepspeed" || target == "accelerate-fsdp") && plan.method == "lora")
    notes.push_back(
        fmt::format("the plan trains LoRA of rank {} on a base in {}: set both in your trainer", plan.rank, plan.base));
  if (target == "deepspeed" || target == "accelerate-fsdp" || processes)
    notes.push_back(fmt::format("its rows have {} tokens: cut yours to that length", plan.seq_len));
  return notes;
}

std::string handover_config(const HandoverPlan& plan, std::string_view target) {
  using Writer = std::string (*)(const HandoverPlan&);
  static constexpr std::pair<std::string_view, Writer> kWriters[] = {
      {"deepspeed", handover::deepspeed},   {"accelerate-fsdp", handover::accelerate_fsdp},
      {"torchtitan", handover::torchtitan}, {"megatron", handover::megatron},
      {"axolotl", handover::axolotl},       {"llama-factory", handover::llama_factory},
      {"unsloth", handover::unsloth},       {"torchtune", handover::torchtune},
      {"slurm", handover::slurm},           {"kubernetes", handover::kubernetes},
      {"skypilot", handover::skypilot}};
  for (const auto& [name, writer] : kWriters)
    if (name == target) return writer(plan);
  unknown_target(target);
}

}  // namespace plimsoll
