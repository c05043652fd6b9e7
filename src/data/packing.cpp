#include "data/packing.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>
#include <tuple>

#include "base/error.h"

namespace plimsoll {
namespace {

struct Item {
  int32_t example;
  int64_t tokens;
};

// Best-fit-decreasing of one window (Johnson 1974: at most 11/9 of the best, plus a constant).
std::vector<std::vector<int32_t>> pack_window(std::vector<Item>& window, int64_t seq_len) {
  std::stable_sort(window.begin(), window.end(), [](const Item& a, const Item& b) { return a.tokens > b.tokens; });
  std::vector<std::vector<int32_t>> rows;
  std::set<std::pair<int64_t, size_t>> room;  // (tokens left, row)
  for (const auto& [example, tokens] : window) {
    const auto fit = room.lower_bound({tokens, 0});
    size_t row = rows.size();
    int64_t left = seq_len;
    if (fit == room.end()) {
      rows.emplace_back();
    } else {
      std::tie(left, row) = *fit;
      room.erase(fit);
    }
    rows[row].push_back(example);
    if (left > tokens) room.emplace(left - tokens, row);
  }
  return rows;
}

}  // namespace

EpochRows::EpochRows(int64_t examples, std::function<int64_t(int64_t)> length, const PackingOptions& options,
                     int64_t epoch)
    : examples_(examples),
      length_(std::move(length)),
      options_(options),
      random_(options.seed, static_cast<uint64_t>(epoch)) {
  PLIMSOLL_CHECK(examples > 0 && examples <= std::numeric_limits<int32_t>::max(), "no examples, or 2^31 and more");
  if (options_.shuffle && examples <= kExamplesInMemory) {
    order_.resize(static_cast<size_t>(examples));
    std::iota(order_.begin(), order_.end(), 0);
    shuffle(std::span(order_), random_);
  } else if (options_.shuffle) {
    permutation_.emplace(static_cast<uint64_t>(examples), options_.seed, static_cast<uint64_t>(epoch));
  }
  if (options_.packing) plan_windows();
  else rows_ = examples;
}

int32_t EpochRows::example_at(int64_t position) const {
  if (!order_.empty()) return order_[static_cast<size_t>(position)];
  return static_cast<int32_t>(permutation_ ? permutation_->at(static_cast<uint64_t>(position))
                                           : static_cast<uint64_t>(position));
}

int64_t EpochRows::checked_length(int64_t example) const {
  const int64_t tokens = length_(example);
  PLIMSOLL_CHECK(tokens >= 1 && tokens <= options_.seq_len, "an example does not fit a row");
  return tokens;
}

void EpochRows::plan_windows() {
  Random random = random_;
  for (int64_t example = 0; example < examples_;) {
    windows_.push_back({rows_, example, random});
    window_ = static_cast<int64_t>(windows_.size()) - 1;
    if (options_.shuffle) {
      fill_shuffled(example, random);
      example = std::min(examples_, example + kPackingWindow);
    } else {
      example = fill_in_order(example);
    }
    rows_ += static_cast<int64_t>(window_begin_.size()) - 1;
  }
}

void EpochRows::fill_shuffled(int64_t first_example, Random& random) {
  std::vector<Item> window;
  const int64_t end = std::min(examples_, first_example + kPackingWindow);
  window.reserve(static_cast<size_t>(end - first_example));
  for (int64_t position = first_example; position < end; ++position) {
    const int32_t example = example_at(position);
    window.push_back({example, checked_length(example)});
  }
  std::vector<std::vector<int32_t>> rows = pack_window(window, options_.seq_len);
  shuffle(std::span(rows), random);
  window_examples_.clear();
  window_begin_.assign(1, 0);
  for (const auto& row : rows) {
    window_examples_.insert(window_examples_.end(), row.begin(), row.end());
    window_begin_.push_back(static_cast<int32_t>(window_examples_.size()));
  }
}

// A window of rows holds kPackingWindow examples, and then those that still fit its last row.
int64_t EpochRows::fill_in_order(int64_t first_example) {
  window_examples_.clear();
  window_begin_.assign(1, 0);
  int64_t used = 0, example = first_example;
  for (; example < examples_; ++example) {
    const int64_t tokens = checked_length(example);
    if (used + tokens > options_.seq_len) {
      window_begin_.push_back(static_cast<int32_t>(window_examples_.size()));
      used = 0;
      if (static_cast<int64_t>(window_examples_.size()) >= kPackingWindow) return example;
    }
    window_examples_.push_back(static_cast<int32_t>(example));
    used += tokens;
  }
  window_begin_.push_back(static_cast<int32_t>(window_examples_.size()));
  return example;
}

std::span<const int32_t> EpochRows::row(int64_t index) {
  PLIMSOLL_CHECK(index >= 0 && index < rows_, "an epoch has no such row");
  if (!options_.packing) {
    window_examples_.assign(1, example_at(index));
    return window_examples_;
  }
  const auto behind = std::upper_bound(windows_.begin(), windows_.end(), index,
                                       [](int64_t row, const Window& window) { return row < window.first_row; });
  const Window& window = *(behind - 1);
  if (window_ != behind - 1 - windows_.begin()) {
    window_ = behind - 1 - windows_.begin();
    Random random = window.random;
    if (options_.shuffle) fill_shuffled(window.first_example, random);
    else fill_in_order(window.first_example);
  }
  const auto in_window = static_cast<size_t>(index - window.first_row);
  const auto begin = static_cast<size_t>(window_begin_[in_window]);
  return std::span(window_examples_).subspan(begin, static_cast<size_t>(window_begin_[in_window + 1]) - begin);
}

int64_t EpochRows::bytes() const {
  return static_cast<int64_t>((order_.capacity() + window_examples_.capacity() + window_begin_.capacity()) * 4 +
                              windows_.capacity() * sizeof(Window));
}

int64_t EpochRows::peak_bytes(int64_t examples) {
  constexpr int64_t kWindowBytes = kPackingWindow * 200;  // items, rows and the tree of one window
  const int64_t windows = examples / kPackingWindow + 1;
  return 4 * std::min(examples, kExamplesInMemory) + 2 * windows * static_cast<int64_t>(sizeof(Window)) + kWindowBytes;
}

}  // namespace plimsoll
