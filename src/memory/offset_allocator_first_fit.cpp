#include <algorithm>
#include <array>
#include <limits>
#include <memory>

#include "memory/offset_allocator_placers.h"

namespace plimsoll::packing {
namespace {

constexpr int64_t kWorkPerItem = 200;  // inserting one costs about as much as looking at this many

// A run of placed items, sorted by offset.
struct Run {
  static constexpr int kCapacity = 128;
  int count = 0;
  int32_t min_begin = std::numeric_limits<int32_t>::max();
  int32_t max_end = 0;
  std::array<int32_t, kCapacity> begin;
  std::array<int32_t, kCapacity> end;
  std::array<int64_t, kCapacity> offset;
  std::array<int64_t, kCapacity> top;

  void insert(int at, const Item& item, int64_t item_offset) {
    const auto make_room = [&](auto& array, auto value) {
      std::copy_backward(array.begin() + at, array.begin() + count, array.begin() + count + 1);
      array[static_cast<size_t>(at)] = value;
    };
    make_room(begin, item.begin);
    make_room(end, item.end);
    make_room(offset, item_offset);
    make_room(top, item_offset + item.bytes);
    ++count;
    min_begin = std::min(min_begin, item.begin);
    max_end = std::max(max_end, item.end);
  }
};

// All placed items by offset, in runs, so that inserting moves little and runs of another time are skipped whole.
class PlacedItems {
 public:
  int64_t lowest_fit(const Item& item, int64_t& work) const {
    int64_t cursor = 0;  // nothing that overlaps in time is above `cursor` and below the entry looked at
    for (const std::unique_ptr<Run>& run : runs_) {
      if (run->min_begin >= item.end || run->max_end <= item.begin) continue;
      work += run->count;
      for (size_t i = 0; i < static_cast<size_t>(run->count); ++i) {
        if (run->begin[i] >= item.end || run->end[i] <= item.begin) continue;
        if (align_up(cursor, item.alignment) + item.bytes <= run->offset[i]) return align_up(cursor, item.alignment);
        cursor = std::max(cursor, run->top[i]);
      }
    }
    return align_up(cursor, item.alignment);
  }

  void insert(const Item& item, int64_t offset) {
    if (runs_.empty()) runs_.push_back(std::make_unique<Run>());
    auto where = std::upper_bound(runs_.begin(), runs_.end(), offset,
                                  [](int64_t value, const auto& run) { return value < run->offset[0]; });
    if (where != runs_.begin()) --where;
    if ((*where)->count == Run::kCapacity) where = split(where, offset);
    Run& run = **where;
    const auto at = std::upper_bound(run.offset.begin(), run.offset.begin() + run.count, offset) - run.offset.begin();
    run.insert(static_cast<int>(at), item, offset);
  }

 private:
  using Runs = std::vector<std::unique_ptr<Run>>;

  // Halves a full run; returns the half that `offset` belongs to.
  Runs::iterator split(Runs::iterator full, int64_t offset) {
    auto low = std::make_unique<Run>(), high = std::make_unique<Run>();
    const Run& run = **full;
    for (int i = 0; i < run.count; ++i) {
      const auto k = static_cast<size_t>(i);
      Run& half = i < run.count / 2 ? *low : *high;
      half.insert(half.count, {run.top[k] - run.offset[k], 1, run.begin[k], run.end[k], -1}, run.offset[k]);
    }
    const bool goes_high = offset >= high->offset[0];
    *full = std::move(low);
    const auto second = runs_.insert(full + 1, std::move(high));
    return goes_high ? second : second - 1;
  }

  Runs runs_;
};

}  // namespace

Placement place_first_fit(std::span<const Item> items, std::span<const int32_t> order, int64_t& work) {
  Placement placement{std::vector<int64_t>(items.size(), 0), 0};
  PlacedItems placed;
  const auto place = [&](size_t index, int64_t offset) {
    placement.offsets[index] = offset;
    placement.arena_bytes = std::max(placement.arena_bytes, offset + items[index].bytes);
    placed.insert(items[index], offset);
  };
  for (size_t i = 0; i < items.size(); ++i)
    if (items[i].pinned_offset >= 0) place(i, items[i].pinned_offset);
  for (const int32_t index : order) {
    const auto i = static_cast<size_t>(index);
    place(i, placed.lowest_fit(items[i], work));
    work += kWorkPerItem;
  }
  return placement;
}

}  // namespace plimsoll::packing
