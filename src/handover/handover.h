// A plan that was computed, as the configuration that starts it on an existing engine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/model_config.h"
#include "search/layout_search.h"

namespace plimsoll {

// What `plimsoll search --json` says of one plan.
struct HandoverPlan {
  std::string model, device;
  std::string method;  // full, lora
  std::string base;    // 16bit, 8bit, 4bit
  int64_t rank = 16, seq_len = 4096;
  std::vector<std::string> targets;
  int64_t data = 1, tensor = 1, pipeline = 1, context = 1, expert = 1, virtual_stages = 1, zero_stage = 0;
  int64_t micro_batch = 1, grad_accum_steps = 1;
  bool recompute = false;
  int64_t node_devices = 8;
  int64_t layers = 0;                 // of the model; 0: not known
  std::optional<ModelConfig> config;  // the model's shape, where the caller could read it
  int64_t steps = 0;                  // of the run that was searched for; 0: no length was given
  double hours = 0;                   // of that run

  int64_t devices() const { return data * tensor * pipeline * context; }
  int64_t nodes() const { return (devices() + node_devices - 1) / node_devices; }
  int64_t per_node() const { return devices() / nodes(); }  // exact where handover_config does not refuse
  int64_t global_batch() const { return micro_batch * grad_accum_steps * data; }
};

// `devices` 0: the fastest of the front; else the plan on that many. Throws a caller Error naming `source`.
HandoverPlan parse_search_plan(const std::string& json, const std::string& source, int64_t devices);

struct HandoverTarget {
  std::string_view name, file, about;
};
const std::vector<HandoverTarget>& handover_targets();

// The layouts that a target can start; a search within them finds nothing that handover_config refuses for its layout.
// Throws a caller Error for a name that is no target.
LayoutLimits handover_limits(std::string_view target);

// The configuration's text. Throws a caller Error where the engine cannot do what the plan asks (a pipeline in FSDP …),
// with an engine that can.
std::string handover_config(const HandoverPlan& plan, std::string_view target);

// What the plan counts on and the configuration cannot say: one sentence each, for people.
std::vector<std::string> handover_notes(const HandoverPlan& plan, std::string_view target);

}  // namespace plimsoll
