// Which examples share a row of seq_len tokens.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/permutation.h"
#include "base/random.h"

namespace plimsoll {

// Examples are shuffled in windows of this many before they are packed: large enough that little is wasted, small
// enough that what shares a row is random.
inline constexpr int64_t kPackingWindow = 4096;

// Up to this many examples an order and an index lie in memory; of more, the order is computed position by position and
// the index stays on disk. Part of the contract: it decides which of two shuffles a seed means.
inline constexpr int64_t kExamplesInMemory = int64_t{1} << 20;

struct PackingOptions {
  int64_t seq_len = 512;
  bool packing = true;
  bool shuffle = true;
  uint64_t seed = 0;
};

// The rows of an epoch; every example stands in exactly one. A pure function of (lengths, options, epoch).
//   shuffle, packing    all examples are shuffled; within each window of kPackingWindow of that order they are packed
//                       best-fit-decreasing (the longest first, each into the row where it leaves the least room);
//                       then the rows of the window are shuffled
//   shuffle             one example a row, shuffled
//   packing             in order: a row takes examples as long as they fit
//   neither             one example a row, in order
// The shuffle is Fisher-Yates up to kExamplesInMemory examples, and a Permutation of more. Only one window of rows
// exists at a time; of the others it is noted how to make them again. So going through the rows in order is cheap, and
// jumping costs a window. `length(i)` is 1 … seq_len, else an internal Error. At most 2^31 - 1 examples.
class EpochRows {
 public:
  EpochRows(int64_t examples, std::function<int64_t(int64_t)> length, const PackingOptions& options, int64_t epoch);

  int64_t rows() const { return rows_; }
  std::span<const int32_t> row(int64_t index);  // valid until the next call

  int64_t bytes() const;  // resident
  // The most it ever needs. Known before anything runs.
  static int64_t peak_bytes(int64_t examples);

 private:
  struct Window {
    int64_t first_row, first_example;
    Random random;  // as it was before the window
  };

  int32_t example_at(int64_t position) const;
  int64_t checked_length(int64_t example) const;
  void plan_windows();
  void fill_shuffled(int64_t first_example, Random& random);
  int64_t fill_in_order(int64_t first_example);  // the example behind the window

  int64_t examples_;
  std::function<int64_t(int64_t)> length_;
  PackingOptions options_;
  Random random_;
  std::vector<int32_t> order_;              // of up to kExamplesInMemory shuffled examples
  std::optional<Permutation> permutation_;  // of more
  int64_t rows_ = 0;
  std::vector<Window> windows_;  // with packing
  int64_t window_ = -1;          // whose rows these are
  std::vector<int32_t> window_examples_;
  std::vector<int32_t> window_begin_;  // into window_examples_; one more than there are rows
};

}  // namespace plimsoll
