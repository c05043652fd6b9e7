// Which examples share a row of seq_len tokens.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace plimsoll {

// Rows of examples, in order. 4 bytes an example and 8 a row.
struct RowPlan {
  std::vector<int32_t> examples;
  std::vector<int64_t> row_begin{0};  // into examples; one more than there are rows

  int64_t rows() const { return static_cast<int64_t>(row_begin.size()) - 1; }
  std::span<const int32_t> row(int64_t index) const {
    const auto begin = static_cast<size_t>(row_begin[static_cast<size_t>(index)]);
    return {examples.data() + begin, static_cast<size_t>(row_begin[static_cast<size_t>(index) + 1]) - begin};
  }
};

struct PackingOptions {
  int64_t seq_len = 512;
  bool packing = true;
  bool shuffle = true;
  uint64_t seed = 0;
};

// Examples are shuffled in windows of this many before they are packed: large enough that little is wasted, small
// enough that what shares a row is random.
inline constexpr int64_t kPackingWindow = 4096;

// The rows of an epoch; every example stands in exactly one. A pure function of its arguments.
//   shuffle, packing    all examples are shuffled; within each window of kPackingWindow of that order they are packed
//                       best-fit-decreasing (the longest first, each into the row where it leaves the least room);
//                       then the rows of the window are shuffled
//   shuffle             one example a row, shuffled
//   packing             in order: a row takes examples as long as they fit
//   neither             one example a row, in order
// `length(i)` is 1 … seq_len. Throws an internal Error otherwise. At most 2^31 - 1 examples.
RowPlan plan_rows(int64_t examples, const std::function<int64_t(int64_t)>& length, const PackingOptions& options,
                  int64_t epoch);

}  // namespace plimsoll
