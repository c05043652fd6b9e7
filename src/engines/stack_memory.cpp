#include "engines/stack_memory.h"

#include <algorithm>
#include <map>

#include "base/bytes.h"
#include "base/csv.h"
#include "base/error.h"
#include "base/text.h"
#include "base/words.h"
#include "cost/catalog_text.h"

namespace plimsoll {
namespace {

constexpr std::string_view kStacks = "stack_memory.csv", kConstants = "memory_constants.csv";

MemoryProfile profile_of(std::string_view name) {
  if (name == "torch") return MemoryProfile::torch;
  if (name == "sharded") return MemoryProfile::sharded;
  if (name == "megatron") return MemoryProfile::megatron;
  if (name == "native") return MemoryProfile::native;
  PLIMSOLL_CHECK(name == "inference", "catalog/stack_memory.csv: no such profile");
  return MemoryProfile::inference;
}

MemoryMeasure measure_of(std::string_view name) {
  if (name == "allocated") return MemoryMeasure::allocated;
  if (name == "reserved") return MemoryMeasure::reserved;
  PLIMSOLL_CHECK(name == "device", "catalog/stack_memory.csv: no such measure");
  return MemoryMeasure::device;
}

std::vector<StackMemory> load_stacks() {
  const CsvTable table = parse_csv(catalog_text(kStacks), kStacks);
  std::vector<StackMemory> stacks;
  for (const auto& row : table.rows) {
    const auto cell = [&](std::string_view name) -> const std::string& { return row[table.column(name, kStacks)]; };
    const auto number = [&](std::string_view name) {
      const auto value = parse_number(cell(name));
      PLIMSOLL_CHECK(value.has_value(), "catalog/stack_memory.csv: no number");
      return *value;
    };
    stacks.push_back({.stack = cell("stack"),
                      .profile = profile_of(cell("profile")),
                      .measure = measure_of(cell("measure")),
                      .fused_gate = cell("fused_gate") == "yes",
                      .flash = cell("flash") == "yes",
                      .old_bitsandbytes = cell("old_bnb") == "yes",
                      .amp = cell("amp") == "yes",
                      .recompute = cell("recompute") == "full"   ? StackMemory::Recompute::full
                                   : cell("recompute") == "none" ? StackMemory::Recompute::none
                                                                 : StackMemory::Recompute::unknown,
                      .logit_bytes = number("logit_bytes"),
                      .master_weights = cell("master_weights") == "yes",
                      .fused_loss = cell("fused_loss") == "yes",
                      .fused_optimizer = cell("fused_optimizer") == "yes",
                      .half_loss = cell("half_loss") == "yes",
                      .keeps_gathered = cell("keeps_gathered") == "yes",
                      .flat_shards = cell("flat_shards") == "yes",
                      .zero_auto = cell("zero_auto") == "yes",
                      .half_gradients = cell("half_gradients") == "yes",
                      .context_bytes = number("context_gib") * static_cast<double>(kGiB),
                      .spread = number("spread"),
                      .source = cell("source"),
                      .date = cell("date")});
  }
  return stacks;
}

}  // namespace

const std::vector<StackMemory>& all_stack_memory() {
  static const std::vector<StackMemory> stacks = load_stacks();
  return stacks;
}

const StackMemory& stack_memory(std::string_view engine) {
  const std::string name = lower_case(engine);
  const StackMemory* best = nullptr;
  size_t best_at = 0;
  for (const StackMemory& stack : all_stack_memory()) {
    const size_t at = name.find(stack.stack);
    if (at == std::string::npos) continue;
    // The stack that is named first; of several that begin there, the longest. The empty name comes last.
    const bool better = !best || best->stack.empty() || (!stack.stack.empty() && at < best_at) ||
                        (at == best_at && stack.stack.size() > best->stack.size());
    if (!better || (stack.stack.empty() && best)) continue;
    best = &stack;
    best_at = at;
  }
  PLIMSOLL_CHECK(best != nullptr, "catalog/stack_memory.csv has no row for all");
  return *best;
}

double memory_constant(std::string_view name) {
  static const std::map<std::string, double, std::less<>> constants = [] {
    std::map<std::string, double, std::less<>> made;
    const CsvTable table = parse_csv(catalog_text(kConstants), kConstants);
    for (const auto& row : table.rows)
      made[row[table.column("name", kConstants)]] = parse_number(row[table.column("value", kConstants)]).value_or(0);
    return made;
  }();
  const auto found = constants.find(name);
  PLIMSOLL_CHECK(found != constants.end(), "catalog/memory_constants.csv lacks a constant");
  return found->second;
}

}  // namespace plimsoll
