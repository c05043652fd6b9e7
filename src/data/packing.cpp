#include "data/packing.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>

#include "base/error.h"
#include "base/random.h"

namespace plimsoll {
namespace {

using Length = std::function<int64_t(int64_t)>;

void add_row(RowPlan& plan, std::span<const int32_t> examples) {
  plan.examples.insert(plan.examples.end(), examples.begin(), examples.end());
  plan.row_begin.push_back(static_cast<int64_t>(plan.examples.size()));
}

// Best-fit-decreasing of one window (Johnson 1974: at most 11/9 of the best, plus a constant).
std::vector<std::vector<int32_t>> pack_window(std::span<const int32_t> window, const Length& length, int64_t seq_len) {
  std::vector<int32_t> by_length(window.begin(), window.end());
  std::stable_sort(by_length.begin(), by_length.end(), [&](int32_t a, int32_t b) { return length(a) > length(b); });
  std::vector<std::vector<int32_t>> rows;
  std::set<std::pair<int64_t, size_t>> room;  // (tokens left, row)
  for (const int32_t example : by_length) {
    const int64_t tokens = length(example);
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

RowPlan pack_shuffled(std::span<int32_t> order, const Length& length, int64_t seq_len, Random& random) {
  RowPlan plan;
  plan.examples.reserve(order.size());
  for (size_t begin = 0; begin < order.size(); begin += kPackingWindow) {
    const auto window = order.subspan(begin, std::min<size_t>(kPackingWindow, order.size() - begin));
    std::vector<std::vector<int32_t>> rows = pack_window(window, length, seq_len);
    shuffle(std::span(rows), random);
    for (const auto& row : rows) add_row(plan, row);
  }
  return plan;
}

RowPlan pack_in_order(std::span<const int32_t> order, const Length& length, int64_t seq_len) {
  RowPlan plan;
  plan.examples.reserve(order.size());
  size_t begin = 0;
  int64_t used = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    const int64_t tokens = length(order[i]);
    if (used + tokens > seq_len) {
      add_row(plan, order.subspan(begin, i - begin));
      begin = i;
      used = 0;
    }
    used += tokens;
  }
  if (begin < order.size()) add_row(plan, order.subspan(begin));
  return plan;
}

}  // namespace

RowPlan plan_rows(int64_t examples, const Length& length, const PackingOptions& options, int64_t epoch) {
  PLIMSOLL_CHECK(examples <= std::numeric_limits<int32_t>::max(), "more than 2^31 - 1 examples");
  for (int64_t i = 0; i < examples; ++i) {
    PLIMSOLL_CHECK(length(i) >= 1 && length(i) <= options.seq_len, "an example does not fit a row");
  }
  std::vector<int32_t> order(static_cast<size_t>(examples));
  std::iota(order.begin(), order.end(), 0);
  Random random(options.seed, static_cast<uint64_t>(epoch));
  if (options.shuffle) shuffle(std::span(order), random);
  if (options.packing && options.shuffle) return pack_shuffled(order, length, options.seq_len, random);
  if (options.packing) return pack_in_order(order, length, options.seq_len);
  RowPlan plan;
  plan.row_begin.assign(order.size() + 1, 0);
  std::iota(plan.row_begin.begin(), plan.row_begin.end(), 0);
  plan.examples = std::move(order);
  return plan;
}

}  // namespace plimsoll
