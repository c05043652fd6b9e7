#include "cli/predict/engine_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>

#include "base/error.h"
#include "base/text.h"
#include "engines/layout/pipeline_stages.h"
#include "engines/stack_memory.h"

namespace plimsoll::cli {
namespace {

// What --layout says beside ranks: stages and modules of Megatron, and settings of DeepSpeed.
struct LayoutText {
  int64_t first = 0, last = 0;
};

bool read_number_key(std::string_view key, int64_t value, EngineRun& run, LayoutText& text) {
  EngineLayout& layout = run.layout;
  struct Number {
    std::string_view name;
    int64_t* place;
    int64_t most = 1'000'000;
  };
  constexpr int64_t kValues = int64_t{1} << 40;
  ZeroSettings& zero = layout.zero;
  const Number numbers[] = {{"dp", &layout.data},
                            {"tp", &layout.tensor},
                            {"pp", &layout.pipeline},
                            {"cp", &layout.context},
                            {"ep", &layout.expert},
                            {"etp", &layout.expert_tensor},
                            {"vpp", &layout.virtual_stages},
                            {"first", &text.first},
                            {"last", &text.last},
                            {"mtp", &run.recipe.further_tokens},
                            {"live", &zero.max_live, kValues},
                            {"reuse", &zero.reuse_distance, kValues},
                            {"prefetch", &zero.prefetch, kValues},
                            {"persist", &zero.persistence, kValues},
                            {"bucket", &zero.reduce_bucket, kValues},
                            {"subgroup", &zero.sub_group, kValues}};
  for (const auto& [name, place, most] : numbers) {
    if (name != key) continue;
    if (value > most) return false;
    *place = value;
    return true;
  }
  if (key == "zero" && value <= 3) layout.zero_stage = static_cast<int>(value);
  else if (key == "sp" && value <= 1) layout.sequence_parallel = value == 1;
  else if (key == "defer") run.recipe.deferred_logits = value;
  else return false;
  return true;
}

bool read_word_key(std::string_view key, std::string_view value, EngineRun& run) {
  EngineLayout& layout = run.layout;
  if (key == "offload") {
    layout.offload_optimizer = value == "optimizer" || value == "all";
    layout.offload_parameters = value == "params" || value == "all";
    return layout.offload_optimizer || layout.offload_parameters;
  }
  if (key == "offload_to") {
    layout.offload_place = value == "nvme" ? OffloadPlace::nvme : OffloadPlace::host;
    return value == "nvme" || value == "cpu";
  }
  if (key != "again" && key != "stages" && key != "torchtune") return false;
  if (value.empty() || value.back() == '+') return false;
  while (!value.empty()) {
    const std::string_view part = value.substr(0, value.find('+'));
    value.remove_prefix(std::min(value.size(), part.size() + 1));
    if (key == "again") {
      if (!set_recompute_module(run.recipe.modules, part)) return false;
      run.recipe.recompute = RecomputeKind::selective;
    } else if (key == "torchtune") {
      if (part == "step_in_backward") run.recipe.step_in_backward = true;
      else if (part == "offload_activations") run.recipe.offload_activations = true;
      else return false;
    } else {
      const auto layers = parse_integer(part);
      if (!layers || *layers < 0 || *layers > 4096 || layout.chunk_layers.size() >= 4096) return false;
      layout.chunk_layers.push_back(*layers);
    }
  }
  return true;
}

bool is_one_of(std::string_view key, std::initializer_list<std::string_view> keys) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

// A key that the engine's profile does not read is refused, with the engines that do. 0 and 1 ranks cut nothing.
void refuse_unread(std::string_view key, std::string_view value, const EngineRun& run) {
  const StackMemory& stack = stack_memory(run.engine);
  const bool megatron = stack.profile == MemoryProfile::megatron;
  const bool ranks = is_one_of(key, {"tp", "pp", "cp", "ep", "etp", "vpp", "sp"});
  if (ranks && (value == "0" || value == "1") && !(key == "sp" && value == "1")) return;
  if (key == "cp" && stack.profile == MemoryProfile::sharded && !stack.master_weights) return;
  std::string_view readers;
  if (!megatron && (ranks || is_one_of(key, {"first", "last", "stages", "again", "mtp", "defer"})))
    readers = "--engine megatron";
  const bool deepspeed = stack.master_weights && !megatron;
  if (!deepspeed && is_one_of(key, {"live", "reuse", "prefetch", "persist", "subgroup"}))
    readers = "--engine deepspeed";
  if (key == "bucket" && !deepspeed && !stack.half_gradients) readers = "--engine deepspeed or megatron-deepspeed";
  if (key == "torchtune" && stack.stack != "torchtune") readers = "--engine torchtune";
  if (key == "zero" && value != "0" && stack.profile == MemoryProfile::native)
    readers = "--engine deepspeed, fsdp2 or megatron";
  if (readers.empty()) return;
  throw caller_error(fmt::format("--layout {}=", key), fmt::format("is nothing that {} reads", run.engine),
                     fmt::format("leave it out, or use {}", readers));
}

void refuse_modules(std::string_view names) {
  RecomputeModules modules;
  while (!names.empty()) {
    const std::string_view part = names.substr(0, names.find('+'));
    names.remove_prefix(std::min(names.size(), part.size() + 1));
    if (!set_recompute_module(modules, part))
      throw caller_error(
          "--layout again=", fmt::format("has {}", one_line(part, 40)),
          "core_attn, mlp, moe, layernorm, moe_act, mla_up_proj, shared_experts, any of them joined by +");
  }
}

}  // namespace

void read_layout(std::string_view text, EngineRun& run) {
  constexpr int64_t kMost = int64_t{1} << 40;
  const auto bad = [&](std::string_view part) {
    return caller_error("--layout", fmt::format("has {}", one_line(part, 60)),
                        "write it like dp=8,tp=2,pp=1,cp=1,ep=1,zero=3,sp=1,offload=optimizer,offload_to=cpu; "
                        "docs/engines.md has all keys");
  };
  LayoutText more;
  std::vector<std::string_view> said;
  const auto says = [&](std::string_view key) { return std::find(said.begin(), said.end(), key) != said.end(); };
  if (text.ends_with(',')) throw bad(text);
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), part.size() + 1));
    const size_t sign = part.find('=');
    if (sign == std::string_view::npos) throw bad(part);
    const std::string_view key = part.substr(0, sign), value = part.substr(sign + 1);
    const auto number = parse_number(value);
    const bool whole = number && *number >= 0 && *number <= static_cast<double>(kMost) &&
                       *number == static_cast<double>(static_cast<int64_t>(*number));
    refuse_unread(key, value, run);
    if (key == "again" && !value.empty()) refuse_modules(value);
    if (says(key))
      throw caller_error(fmt::format("--layout {}=", one_line(key, 20)), "stands there twice", "give it once");
    said.push_back(key);
    if (!(whole && read_number_key(key, static_cast<int64_t>(*number), run, more)) && !read_word_key(key, value, run))
      throw bad(part);
  }
  // What only counts beside something else.
  if (says("offload_to") && !says("offload"))
    throw caller_error("--layout offload_to=", "has nothing to put there", "add offload=optimizer, params or all");
  for (const std::string_view key : {"live", "reuse", "prefetch", "persist", "subgroup"})
    if (says(key) && run.layout.zero_stage < 3)
      throw caller_error(fmt::format("--layout {}=", key), "is a setting of ZeRO's stage 3",
                         "add zero=3, or leave it out");
  // FSDP without a stage is FULL_SHARD.
  const StackMemory& stack = stack_memory(run.engine);
  const bool fsdp = stack.profile == MemoryProfile::sharded && !stack.master_weights;
  if (!says("zero") && fsdp && run.layout.devices() > 1) run.layout.zero_stage = 3;
  if (more.first > 0 || more.last > 0) {
    if (!run.layout.chunk_layers.empty())
      throw caller_error("--layout", "has first= or last= beside stages=", "give one of them");
    if (run.layout.pipeline < 2)
      throw caller_error("--layout", "has first= or last= without stages", "write pp=2 or more");
    run.layout.chunk_layers = uneven_chunks(run.layout, run.model.layers, more.first, more.last);
  }
}

int64_t read_serving_layout(std::string_view text) {
  if (text.empty()) return 1;
  const auto ranks = text.substr(0, 3) == "tp=" ? parse_integer(text.substr(3)) : std::nullopt;
  if (!ranks || *ranks < 1 || *ranks > 1'000'000)
    throw caller_error("--layout", fmt::format("is {}", one_line(text, 60)),
                       "--serve reads tensor ranks only: --layout tp=2");
  return *ranks;
}

}  // namespace plimsoll::cli
