// The plan of a real model: every byte accounted for, and checked by code that the planner does not share.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/bytes.h"
#include "memory/plan_validator.h"
#include "ops/op_def.h"
#include "setup/run_sources.h"
#include "support/test_files.h"
#include "train/trainer.h"

namespace plimsoll {
namespace {

Recipe smollm2() {
  Recipe recipe;
  recipe.model = golden_path("params/configs/smollm2-135m/config.json");
  recipe.eval_data = PLIMSOLL_TEST_DATA "/golden/tokenizer/gpt2_bpe/cases.jsonl";  // for the phase; plans read no data
  recipe.global_batch = 4;
  recipe.threads = 2;
  return recipe;
}

std::vector<Recipe> recipes() {
  std::vector<Recipe> all(8, smollm2());
  for (Recipe& recipe : all) recipe.stream = StreamMode::off;
  all[1].memory_bytes = 600 * kMiB;
  all[2].memory_bytes = 1;  // does not fit: the smallest plan
  all[3].method = Method::full;
  all[3].memory_bytes = 3 * kGiB;
  all[4].precision = DType::f32;
  all[4].recompute = RecomputeMode::all;
  all[5].stream = StreamMode::on;
  all[5].recompute = RecomputeMode::all;
  all[6].stream = StreamMode::inputs;
  all[6].method = Method::full;
  all[6].recompute = RecomputeMode::all;
  all[7].memory_bytes = 600 * kMiB;
  all[7].recompute_keep = RecomputeKeep::attention;
  return all;
}

// Buffers of a phase, with every read and write of its ops, from the graph and the addresses alone.
void validate(const RunPlan& run, const ExecutionPlan& phase) {
  SCOPED_TRACE(phase.name());
  std::vector<Buffer> buffers;
  Packing packing;
  std::vector<std::string> names;
  std::vector<BufferAccess> accesses;
  const auto ops = static_cast<int32_t>(phase.graph.ops.size());
  const auto end = std::max(0, ops - 1);
  for (const PlannedBuffer& buffer : run.persistent) {
    buffers.push_back({buffer.size_bytes, kArenaAlignment, 0, end, buffer.offset});
    packing.offsets.push_back(buffer.offset);
    names.push_back(buffer.name);
  }
  for (const PlannedBuffer& buffer : phase.buffers) {
    buffers.push_back({buffer.size_bytes, kArenaAlignment, buffer.first, buffer.last, {}});
    packing.offsets.push_back(buffer.offset);
    names.push_back(buffer.name);
  }
  // The buffer that holds [offset, offset + bytes) while op `time` runs.
  const auto holder = [&](int64_t offset, int64_t bytes, int32_t time) {
    for (size_t i = 0; i < buffers.size(); ++i)
      if (packing.offsets[i] == offset && buffers[i].size_bytes >= bytes && buffers[i].first <= time &&
          time <= buffers[i].last)
        return static_cast<int32_t>(i);
    ADD_FAILURE() << "no buffer at " << offset << " of " << bytes << " bytes at op " << time;
    return 0;
  };
  // Writes before reads: a value's bytes must stay its own from its producer to each reader.
  std::vector<int32_t> buffer_of(phase.graph.values.size(), -1);
  for (int32_t time = 0; time < ops; ++time) {
    const Op& op = phase.graph.ops[static_cast<size_t>(time)];
    for (const bool results : {false, true}) {
      for (const ValueId id : results ? op.results : op.operands) {
        if (id == kNoValue || phase.graph.value(id).bytes() == 0) continue;
        const int64_t offset = phase.value_offset[static_cast<size_t>(id)];
        ASSERT_GE(offset, 0) << phase.graph.value(id).name;
        const int32_t buffer = holder(offset, phase.graph.value(id).bytes(), time);
        accesses.push_back({buffer, time});
        int32_t& known = buffer_of[static_cast<size_t>(id)];
        EXPECT_TRUE(known < 0 || known == buffer) << phase.graph.value(id).name << " moves";
        known = buffer;
      }
    }
    if (phase.workspace_bytes[static_cast<size_t>(time)] > 0)
      accesses.push_back({holder(phase.workspace_offset[static_cast<size_t>(time)],
                                 phase.workspace_bytes[static_cast<size_t>(time)], time),
                          time});
  }
  packing.arena_bytes = phase.arena_bytes;
  packing.lower_bound_bytes = phase.lower_bound_bytes;
  ValidationContext context;
  context.names = names;
  context.schedule_length = std::max(1, ops);
  context.accesses = accesses;
  EXPECT_EQ(validate_packing(buffers, packing, context), std::vector<std::string>{});
}

TEST(PlanOfSmolLm2, EveryPhaseIsSoundAndAtItsLowerBound) {
  for (const Recipe& recipe : recipes()) {
    const RunSources sources = open_run_sources(recipe, ModelNeed::config);
    const TrainPlan plan = plan_run(sources);
    ASSERT_EQ(plan.run.phases.size(), 7U);
    for (const ExecutionPlan& phase : plan.run.phases) {
      validate(plan.run, phase);
      // What is read straight from disk begins at a page: a few KiB between the buffers.
      // In evaluation, which is far from the arena's largest phase, no packing within 1 % has been found; workspaces,
      // and with them the gap, depend on the CPU's instructions.
      const int64_t share = phase.name() == phase_names::kEvaluate ? 80 : 1000;
      const int64_t gap = recipe.stream == StreamMode::on ? phase.lower_bound_bytes / share : 0;
      EXPECT_LE(phase.arena_bytes, phase.lower_bound_bytes + gap) << phase.name();
      EXPECT_EQ(phase.at_peak.sum(), phase.lower_bound_bytes) << phase.name();
    }
    if (recipe.stream == StreamMode::off) {
      EXPECT_EQ(plan.run.arena_bytes, plan.run.lower_bound_bytes);
    }
    EXPECT_EQ(plan.run.arena_bytes, plan.run.peak_phase().arena_bytes);
    EXPECT_EQ(plan.total_bytes, plan.run.arena_bytes + plan.overhead_bytes);
  }
}

TEST(PlanOfSmolLm2, ReportAddsUp) {
  for (const Recipe& recipe : recipes()) {
    const PlanReport report = plan_training(recipe, true);
    int64_t sum = 0;
    for (const Category category : kCategories) sum += report.category_bytes[category];
    EXPECT_EQ(sum, report.peak_live_bytes());
    EXPECT_EQ(report.peak_live_bytes(), report.lower_bound_bytes);
    EXPECT_EQ(report.total_params, 134515008);
    EXPECT_EQ(report.trainable_params, recipe.method == Method::full ? 134515008 : 4884480);
    EXPECT_EQ(report.micro_batch * report.grad_accum_steps, 4);
    EXPECT_EQ(report.fits, !recipe.memory_bytes || report.total_bytes() <= *recipe.memory_bytes);
    int64_t highest = 0;
    for (const PlanReport::BufferRow& row : report.buffers) highest = std::max(highest, row.offset + row.size_bytes);
    EXPECT_EQ(highest, report.arena_bytes);
    int64_t largest_phase = 0;
    for (const PlanReport::Phase& phase : report.phases) largest_phase = std::max(largest_phase, phase.bytes);
    EXPECT_EQ(largest_phase, report.arena_bytes);
  }
}

TEST(PlanOfSmolLm2, CategoriesAreWhatArithmeticSays) {
  Recipe recipe = smollm2();
  const PlanReport report = plan_training(recipe, false);
  constexpr int64_t kBase = 134515008, kAdapter = 4884480;
  const auto bytes_of = [&](Category category) { return report.category_bytes[category]; };
  // Each tensor rounds up to 64 bytes; the rotary frequencies count as parameters.
  EXPECT_NEAR(static_cast<double>(bytes_of(Category::parameters)), 2.0 * kBase, 300 * 64);
  EXPECT_NEAR(static_cast<double>(bytes_of(Category::adapters)), 6.0 * kAdapter, 900 * 64);
  EXPECT_NEAR(static_cast<double>(bytes_of(Category::gradients)), 4.0 * kAdapter, 450 * 64);
  EXPECT_NEAR(static_cast<double>(bytes_of(Category::optimizer_state)), 8.0 * kAdapter, 900 * 64);
  EXPECT_EQ(bytes_of(Category::master_weights), 0);
  recipe.method = Method::full;
  const PlanReport full = plan_training(recipe, false);
  EXPECT_NEAR(static_cast<double>(full.category_bytes[Category::master_weights]), 4.0 * kBase, 300 * 64);
  EXPECT_NEAR(static_cast<double>(full.category_bytes[Category::gradients]), 4.0 * kBase, 300 * 64);
}

TEST(PlanOfSmolLm2, TheLineIsExact) {
  for (const Method method : {Method::lora, Method::full}) {
    Recipe recipe = smollm2();
    recipe.method = method;
    recipe.memory_bytes = 1;
    const int64_t smallest = plan_training(recipe, false).smallest_budget_bytes;
    recipe.memory_bytes = smallest;
    EXPECT_TRUE(plan_training(recipe, false).fits);
    recipe.memory_bytes = smallest - 4096;
    const PlanReport refused = plan_training(recipe, false);
    EXPECT_FALSE(refused.fits);
    EXPECT_FALSE(refused.suggestions.empty());
    const Error error = does_not_fit(refused);
    EXPECT_EQ(error.kind(), ErrorKind::does_not_fit);
    EXPECT_NE(error.way_out().find(std::to_string(smallest)), std::string::npos) << error.way_out();
  }
}

}  // namespace
}  // namespace plimsoll
