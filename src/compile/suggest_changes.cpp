#include "compile/suggest_changes.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "arch/architecture.h"

namespace plimsoll {
namespace {

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

}  // namespace

std::vector<Suggestion> suggest_changes(const ModelConfig& config, const Recipe& recipe, const TrainSources& sources,
                                        const PlanTarget& target) {
  std::vector<Suggestion> suggestions;
  const int64_t line = recipe.memory_bytes.value_or(INT64_MAX);
  const auto least = [&](const Recipe& changed) { return smallest_plan(config, changed, sources, target).total_bytes; };
  const std::vector<Change> changes = possible_changes(config, recipe);
  for (const Change& change : changes) {
    Recipe alone = recipe;
    change.apply(alone);
    if (const int64_t total = least(alone); total <= line) suggestions.push_back({change.words, total});
  }
  if (!suggestions.empty()) return suggestions;
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
      suggestions.push_back({words, total});
      return suggestions;
    }
  }
  if (!words.empty()) suggestions.push_back({words, least(together)});
  return suggestions;
}

}  // namespace plimsoll
