#include "data/batch_order.h"

#include <gtest/gtest.h>
#include <unistd.h>

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

// All rows of an epoch behind one another.
struct RowPlan {
  std::vector<int32_t> examples;
  std::vector<int64_t> row_begin{0};

  int64_t rows() const { return static_cast<int64_t>(row_begin.size()) - 1; }
  std::span<const int32_t> row(int64_t index) const {
    const auto begin = static_cast<size_t>(row_begin[static_cast<size_t>(index)]);
    return {examples.data() + begin, static_cast<size_t>(row_begin[static_cast<size_t>(index) + 1]) - begin};
  }
};

RowPlan plan_of(const std::vector<int64_t>& lengths, const PackingOptions& options, int64_t number = 0) {
  EpochRows epoch(
      static_cast<int64_t>(lengths.size()), [&](int64_t i) { return lengths[static_cast<size_t>(i)]; }, options,
      number);
  RowPlan plan;
  for (int64_t row = 0; row < epoch.rows(); ++row) {
    const auto examples = epoch.row(row);
    plan.examples.insert(plan.examples.end(), examples.begin(), examples.end());
    plan.row_begin.push_back(static_cast<int64_t>(plan.examples.size()));
  }
  EXPECT_LE(epoch.bytes(), EpochRows::peak_bytes(static_cast<int64_t>(lengths.size())));
  return plan;
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

uint64_t hash_of(const RowPlan& plan) {  // FNV-1a of 64-bit values
  uint64_t hash = 1469598103934665603ULL;
  const auto add = [&](uint64_t value) { hash = (hash ^ value) * 1099511628211ULL; };
  for (const int32_t example : plan.examples) add(static_cast<uint64_t>(example));
  for (const int64_t begin : plan.row_begin) add(static_cast<uint64_t>(begin));
  return hash;
}

// Orders of several windows as version 0.1 planned them, all rows at once in memory.
TEST(Packing, WindowsMakeTheOrderOfTheWhole) {
  const std::vector<int64_t> lengths = random_lengths(20000, 512);
  EXPECT_EQ(hash_of(plan_of(lengths, {512, false, false, 7}, 0)), 0x059df87ba21942f9U);
  EXPECT_EQ(hash_of(plan_of(lengths, {512, false, true, 7}, 0)), 0xb8799f9b76823ae3U);
  EXPECT_EQ(hash_of(plan_of(lengths, {512, false, true, 7}, 1)), 0x15570785adcaf995U);
  EXPECT_EQ(hash_of(plan_of(lengths, {512, true, false, 7}, 1)), 0x3795a7d3433f8f49U);
  EXPECT_EQ(hash_of(plan_of(lengths, {512, true, true, 7}, 0)), 0xb8a4449bb00e3ce9U);
  EXPECT_EQ(hash_of(plan_of(lengths, {512, true, true, 7}, 1)), 0x224edd81143ad37aU);
}

TEST(Packing, AnyRowInAnyOrder) {
  const std::vector<int64_t> lengths = random_lengths(20000, 512);
  for (const bool shuffle : {false, true}) {
    const PackingOptions options{512, true, shuffle, 7};
    const RowPlan plan = plan_of(lengths, options);
    EpochRows epoch(
        20000, [&](int64_t i) { return lengths[static_cast<size_t>(i)]; }, options, 0);
    ASSERT_EQ(epoch.rows(), plan.rows());
    Random random(1);
    for (int i = 0; i < 50; ++i) {
      const auto row = static_cast<int64_t>(random.below(static_cast<uint64_t>(plan.rows())));
      EXPECT_TRUE(std::ranges::equal(epoch.row(row), plan.row(row)));
    }
    EXPECT_THROW(epoch.row(plan.rows()), Error);
  }
}

// More examples than lie in memory: still every one once, in rows that are full, by seed and epoch.
TEST(Packing, MoreExamplesThanLieInMemory) {
  constexpr int64_t kMany = kExamplesInMemory + 5000;
  const auto length = [](int64_t i) { return 1 + i % 64; };
  for (const bool packing : {false, true}) {
    EpochRows epoch(kMany, length, {64, packing, true, 3}, 1);
    std::vector<bool> seen(kMany, false);
    int64_t count = 0;
    for (int64_t row = 0; row < epoch.rows(); ++row) {
      int64_t used = 0;
      for (const int32_t example : epoch.row(row)) {
        ASSERT_FALSE(seen[static_cast<size_t>(example)]);
        seen[static_cast<size_t>(example)] = true;
        ++count;
        used += length(example);
      }
      ASSERT_LE(used, 64);
    }
    EXPECT_EQ(count, kMany);
    EXPECT_LE(epoch.bytes(), 128 << 10);  // no order in memory
    const std::vector<int32_t> last(epoch.row(epoch.rows() - 1).begin(), epoch.row(epoch.rows() - 1).end());
    EpochRows again(kMany, length, {64, packing, true, 3}, 1), other(kMany, length, {64, packing, true, 3}, 2);
    EXPECT_TRUE(std::ranges::equal(again.row(epoch.rows() - 1), last));
    EXPECT_FALSE(std::ranges::equal(other.row(other.rows() - 1), last));
  }
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
    EXPECT_LE(whole.bytes(), EpochRows::peak_bytes(103) + 1024);
  }
}

TEST(BatchOrder, StepsAreFullAndRunOverEpochs) {
  BatchOrder order(
      10, [](int64_t) { return 1; }, {8, false, true, 0}, 4);
  EXPECT_EQ(order.steps_of_epochs(1), 3);
  EXPECT_EQ(order.steps_of_epochs(2), 5);
  EXPECT_EQ(order.steps_of_epochs(0.4), 1);
  EXPECT_EQ(order.steps_of_epochs(0.01), 1);
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
