// What the writers of configurations share. Not for other folders.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "handover/handover.h"

namespace plimsoll::handover {

std::string in_quotes(std::string_view text);  // YAML and TOML take JSON's quotes
inline const char* yes(bool value) { return value ? "true" : "false"; }
std::string quoted_list(const std::vector<std::string>& items);  // ["a", "b"]

// Throws the caller Error of an engine that cannot do what the plan asks.
[[noreturn]] void refuse(std::string_view engine, const std::string& what, const std::string& way_out);

// Engines that only know data parallelism.
void require_data_only(const HandoverPlan& plan, std::string_view engine);

// Launchers give every node as many processes: their number must be the plan's.
void require_even_nodes(const HandoverPlan& plan, std::string_view engine);

inline bool all_linear(const HandoverPlan& plan) { return plan.targets == std::vector<std::string>{"all-linear"}; }

// One file each: handover_frameworks.cpp, handover_megatron.cpp, handover_recipes.cpp, handover_torchtune.cpp,
// handover_clusters.cpp.
std::string deepspeed(const HandoverPlan& plan);
std::string accelerate_fsdp(const HandoverPlan& plan);
std::string torchtitan(const HandoverPlan& plan);
std::string megatron(const HandoverPlan& plan);
std::string axolotl(const HandoverPlan& plan);
std::string llama_factory(const HandoverPlan& plan);
std::string unsloth(const HandoverPlan& plan);
std::string torchtune(const HandoverPlan& plan);
std::string slurm(const HandoverPlan& plan);
std::string kubernetes(const HandoverPlan& plan);
std::string skypilot(const HandoverPlan& plan);

}  // namespace plimsoll::handover
