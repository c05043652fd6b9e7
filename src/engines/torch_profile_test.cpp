// The torch profile beside peaks that were traced from the real code (tests/golden/measured, see docs/engines.md).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "engines/engine_profile.h"
#include "engines/measured/measured_rows.h"
#include "engines/measured/validation.h"

namespace plimsoll {
namespace {

const std::string kFolder = std::string(PLIMSOLL_TEST_DATA) + "/golden/measured";

const std::vector<MeasuredRow>& rows() {
  static const std::vector<MeasuredRow> all =
      read_measured_rows(read_csv(kFolder + "/torch_peak.csv"), kFolder, "torch_peak.csv");
  return all;
}

TEST(TorchProfile, PeaksAreThoseOfTheRealCode) {
  const std::vector<ErrorSummary> summaries = summarize(validate_rows(rows(), {}));
  size_t checked = 0;
  for (const ErrorSummary& summary : summaries) {
    if (!summary.source.empty()) continue;
    EXPECT_EQ(summary.used, rows().size()) << summary.quantity;
    EXPECT_EQ(summary.left_out, 0u);
    if (summary.quantity == "peak_bytes") {
      EXPECT_LT(summary.median, 1e-6);
      EXPECT_LT(summary.p95, 1e-4);
      EXPECT_LT(summary.worst, 1e-3) << summary.worst_id;
    } else {
      ASSERT_EQ(summary.quantity, "reserved_bytes");
      EXPECT_LT(summary.median, 1e-3);
      EXPECT_LT(summary.p95, 0.02);
      EXPECT_LT(summary.worst, 0.06) << summary.worst_id;
    }
    ++checked;
  }
  EXPECT_EQ(checked, 2u);
}

// Traced likewise, of families, methods and kernels that the table above lacks; deep models with fewer layers.
TEST(TorchProfile, OtherFamiliesToo) {
  const std::vector<MeasuredRow> more =
      read_measured_rows(read_csv(kFolder + "/more_torch_peaks.csv"), kFolder, "more_torch_peaks.csv");
  ASSERT_GE(more.size(), 200u);
  size_t checked = 0;
  for (const ErrorSummary& summary : summarize(validate_rows(more, {}))) {
    if (!summary.source.empty()) continue;
    EXPECT_EQ(summary.left_out, 0u) << summary.quantity;
    const bool peak = summary.quantity == "peak_bytes";
    EXPECT_LT(summary.median, peak ? 1e-6 : 1e-3) << summary.quantity;
    EXPECT_LT(summary.p95, peak ? 1e-4 : 0.05) << summary.quantity;
    if (peak) {
      EXPECT_LT(summary.worst, 0.015) << summary.worst_id;
    }
    ++checked;
  }
  EXPECT_EQ(checked, 2u);
}

TEST(TorchProfile, PhaseSplitAndOpOfThePeak) {
  const CsvTable table = read_csv(kFolder + "/torch_peak.csv");
  size_t same_phase = 0, same_op = 0;
  for (size_t i = 0; i < rows().size(); ++i) {
    const RowCells cells{&table, &table.rows[i]};
    const EngineMemory memory = estimate_engine_memory(rows()[i].run);
    EXPECT_EQ(memory.parameters + memory.gradients + memory.optimizer_state + memory.activations,
              memory.allocated.bytes);
    same_phase += memory.peak_phase == cells["peak_phase"] ? 1 : 0;
    const std::string_view op = cells["peak_op"].substr(0, cells["peak_op"].find(' '));
    same_op += memory.peak_op.starts_with(op) ? 1 : 0;
    const auto measured = static_cast<double>(cells.integer("param_bytes", 0));
    EXPECT_NEAR(static_cast<double>(memory.parameters), measured, 0.001 * measured) << rows()[i].id;
    EXPECT_LE(memory.allocated.bytes, memory.reserved.bytes) << rows()[i].id;
    EXPECT_LE(memory.reserved.bytes, memory.device_used.bytes);
    EXPECT_LE(memory.allocated.low, memory.allocated.bytes);
    EXPECT_GE(memory.allocated.high, memory.allocated.bytes);
  }
  EXPECT_GE(same_phase, rows().size() * 98 / 100);
  EXPECT_GE(same_op, rows().size() * 90 / 100);
}

TEST(TorchProfile, FewerTokensNeedLess) {
  EngineRun run = rows().front().run;
  const int64_t all = estimate_engine_memory(run).allocated.bytes;
  run.recipe.seq_len /= 2;
  EXPECT_LT(estimate_engine_memory(run).allocated.bytes, all);
}

}  // namespace
}  // namespace plimsoll
