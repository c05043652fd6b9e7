#include "data/batch_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/random.h"

namespace plimsoll {
namespace {

std::vector<int64_t> random_lengths(int64_t count, int64_t seq_len) {
  Random random(3);
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < count; ++i)
    lengths.push_back(1 + static_cast<int64_t>(random.below(static_cast<uint64_t>(seq_len))));
  return lengths;
}

RowPlan plan_of(const std::vector<int64_t>& lengths, const PackingOptions& options, int64_t epoch = 0) {
  return plan_rows(
      static_cast<int64_t>(lengths.size()), [&](int64_t i) { return lengths[static_cast<size_t>(i)]; }, options, epoch);
}

TEST(Packing, EveryExampleOnceAndNoRowTooLong) {
  const std::vector<int64_t> lengths = random_lengths(10000, 512);
  int64_t total = 0;
  for (const int64_t length : lengths) total += length;
  for (const bool packing : {false, true}) {
    for (const bool shuffle : {false, true}) {
      const RowPlan plan = plan_of(lengths, {512, packing, shuffle, 1});
      std::vector<int> seen(lengths.size(), 0);
      for (int64_t r = 0; r < plan.rows(); ++r) {
        int64_t used = 0;
        ASSERT_FALSE(plan.row(r).empty());
        for (const int32_t example : plan.row(r)) {
          used += lengths[static_cast<size_t>(example)];
          ++seen[static_cast<size_t>(example)];
        }
        ASSERT_LE(used, 512);
      }
      EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), 10000);
      if (!packing) {
        EXPECT_EQ(plan.rows(), 10000);
      }
      if (!shuffle) {
        EXPECT_TRUE(std::is_sorted(plan.examples.begin(), plan.examples.end()));
      }
      // Uniform lengths pack to within 1 % of the room they need.
      if (packing && shuffle) {
        EXPECT_LT(static_cast<double>(plan.rows() * 512), 1.01 * static_cast<double>(total));
      }
    }
  }
}

TEST(Packing, SeedAndEpochChangeTheOrderAndNothingElseDoes) {
  const std::vector<int64_t> lengths = random_lengths(500, 64);
  const PackingOptions options{64, true, true, 7};
  EXPECT_EQ(plan_of(lengths, options, 2).examples, plan_of(lengths, options, 2).examples);
  EXPECT_NE(plan_of(lengths, options, 2).examples, plan_of(lengths, options, 3).examples);
  EXPECT_NE(plan_of(lengths, options).examples, plan_of(lengths, {64, true, true, 8}).examples);
}

// Part of the contract: a resumed run must see the same rows, whatever built it.
TEST(Packing, OrderIsFixed) {
  const std::vector<int64_t> lengths = {3, 8, 2, 5, 1, 7, 4, 6};
  const RowPlan plan = plan_of(lengths, {8, true, true, 42}, 1);
  EXPECT_EQ(plan.examples, (std::vector<int32_t>{5, 4, 7, 2, 6, 1, 3, 0})) << testing::PrintToString(plan.examples);
  EXPECT_EQ(plan.row_begin, (std::vector<int64_t>{0, 2, 4, 5, 6, 8})) << testing::PrintToString(plan.row_begin);
}

TEST(Packing, RefusesAnExampleThatDoesNotFit) {
  EXPECT_THROW(plan_of({9}, {8, true, true, 0}), Error);
  EXPECT_THROW(plan_of({0}, {8, true, true, 0}), Error);
}

std::vector<std::vector<int32_t>> steps_of(BatchOrder& order, int64_t from, int64_t to) {
  std::vector<std::vector<int32_t>> out;
  StepRows rows;
  for (int64_t step = from; step < to; ++step) {
    order.rows_of_step(step, rows);
    out.push_back(rows.examples);
  }
  return out;
}

TEST(BatchOrder, AnyStepAloneGivesTheSameRows) {
  const std::vector<int64_t> lengths = random_lengths(103, 32);
  for (const bool packing : {false, true}) {
    const auto make = [&] {
      return BatchOrder(
          103, [&](int64_t i) { return lengths[static_cast<size_t>(i)]; }, {32, packing, true, 5}, 4);
    };
    BatchOrder whole = make();
    const auto steps = steps_of(whole, 0, 90);
    for (const int64_t step : {0, 17, 25, 26, 60, 89}) {
      BatchOrder resumed = make();
      EXPECT_EQ(steps_of(resumed, step, step + 1)[0], steps[static_cast<size_t>(step)]) << step;
    }
    EXPECT_EQ(steps_of(whole, 3, 4)[0], steps[3]);  // going back
    EXPECT_LE(whole.bytes(), BatchOrder::peak_bytes(103));
  }
}

TEST(BatchOrder, StepsAreFullAndRunOverEpochs) {
  BatchOrder order(
      10, [](int64_t) { return 1; }, {8, false, true, 0}, 4);
  EXPECT_EQ(order.steps_of_epochs(1), 3);
  EXPECT_EQ(order.steps_of_epochs(2), 5);
  EXPECT_EQ(order.steps_of_epochs(0.4), 1);
  EXPECT_EQ(order.steps_of_epochs(0.01), 1);
  EXPECT_DOUBLE_EQ(order.epoch_at(5), 2.0);
  std::vector<int> seen(10, 0);
  for (const auto& step : steps_of(order, 0, 5)) {
    EXPECT_EQ(step.size(), 4u);
    for (const int32_t example : step) ++seen[static_cast<size_t>(example)];
  }
  for (const int count : seen) EXPECT_EQ(count, 2);
}

TEST(FillBatch, ShiftsLabelsAndSeparatesSegments) {
  const std::filesystem::path path =
      std::filesystem::path(testing::TempDir()) / ("fill" + std::to_string(::getpid()) + ".jsonl");
  std::ofstream(path) << R"({"input_ids": [10, 11, 12]}
{"input_ids": [20, 21], "labels": [-100, 21]}
{"input_ids": [7, 30, 31, 9], "attention_mask": [0, 1, 1, 0]}
)";
  DatasetOptions options;
  options.vocab_size = 100;
  options.seq_len = 6;
  options.encode = [](std::string_view, bool) { return std::vector<int32_t>(); };
  const std::string name = path;
  const TokenizedDataset dataset = TokenizedDataset::from_files({&name, 1}, options);
  std::filesystem::remove(path);

  StepRows rows;
  rows.examples = {0, 1, 2};
  rows.row_begin = {0, 2, 3};
  std::vector<std::vector<int32_t>> arrays(5, std::vector<int32_t>(18, 77));
  const BatchView batch{arrays[0], arrays[1], arrays[2], arrays[3], arrays[4]};
  EXPECT_EQ(fill_batch(dataset, rows, 0, 3, 6, 99, batch), 4);  // the third row does not exist
  using Row = std::vector<int32_t>;
  EXPECT_EQ(arrays[0], (Row{10, 11, 12, 20, 21, 99, 7, 30, 31, 9, 99, 99, 99, 99, 99, 99, 99, 99}));
  EXPECT_EQ(arrays[1],
            (Row{11, 12, -100, 21, -100, -100, -100, 31, -100, -100, -100, -100, -100, -100, -100, -100, -100, -100}));
  EXPECT_EQ(arrays[2], (Row{0, 1, 2, 0, 1, 0, 0, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(arrays[3], (Row{0, 0, 0, 1, 1, -1, -1, 0, 0, -1, -1, -1, -1, -1, -1, -1, -1, -1}));
  EXPECT_EQ(arrays[4], (Row{0, 0, 0, 3, 3, 5, 0, 1, 1, 3, 4, 5, 0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(fill_batch(dataset, rows, 1, 1, 6, 99,
                       {std::span(arrays[0]).first(6), std::span(arrays[1]).first(6), std::span(arrays[2]).first(6),
                        std::span(arrays[3]).first(6), std::span(arrays[4]).first(6)}),
            1);
  EXPECT_EQ(arrays[0][1], 30);
}

}  // namespace
}  // namespace plimsoll
