#include "memory/offset_allocator.h"

#include <algorithm>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <utility>

#include "base/error.h"
#include "memory/offset_allocator_placers.h"

namespace plimsoll {
namespace {

using packing::Item;
using packing::Placement;

// Limits of the search, in comparisons and in packings. They are met only where nothing reaches the lower bound.
constexpr int64_t kWorkLimit = 10'000'000;
constexpr int kMaxImprovements = 300;

struct Problem {
  std::vector<Item> items;          // those with bytes
  std::vector<int32_t> buffer_of;   // items[i] is buffers[buffer_of[i]]
  std::vector<int32_t> free_items;  // not pinned
  int32_t time_count = 0;
};

Problem build_problem(std::span<const Buffer> buffers) {
  Problem problem;
  std::vector<int64_t> times;
  for (size_t i = 0; i < buffers.size(); ++i) {
    if (occupied_bytes(buffers[i]) == 0) continue;
    problem.buffer_of.push_back(static_cast<int32_t>(i));
    times.push_back(buffers[i].first);
    times.push_back(int64_t{buffers[i].last} + 1);
  }
  std::sort(times.begin(), times.end());
  times.erase(std::unique(times.begin(), times.end()), times.end());
  problem.time_count = static_cast<int32_t>(times.size());
  const auto compressed = [&](int64_t time) {
    return static_cast<int32_t>(std::lower_bound(times.begin(), times.end(), time) - times.begin());
  };
  for (const int32_t index : problem.buffer_of) {
    const Buffer& buffer = buffers[static_cast<size_t>(index)];
    if (!buffer.pinned_offset) problem.free_items.push_back(static_cast<int32_t>(problem.items.size()));
    problem.items.push_back({occupied_bytes(buffer), buffer.alignment, compressed(buffer.first),
                             compressed(int64_t{buffer.last} + 1), buffer.pinned_offset.value_or(-1)});
  }
  return problem;
}

// Pinned buffers come from an earlier plan: if they collide, that plan is broken. Returns their highest end.
int64_t check_pinned(std::span<const Buffer> buffers) {
  std::vector<size_t> pinned;
  int64_t highest = 0;
  for (size_t i = 0; i < buffers.size(); ++i) {
    if (!buffers[i].pinned_offset) continue;
    const int64_t offset = *buffers[i].pinned_offset;
    const std::string what = "buffer " + std::to_string(i) + " pinned at " + std::to_string(offset);
    PLIMSOLL_CHECK(offset >= 0 && offset % buffers[i].alignment == 0, what);
    int64_t end = 0;
    PLIMSOLL_CHECK(!__builtin_add_overflow(offset, occupied_bytes(buffers[i]), &end), what);
    highest = std::max(highest, end);
    if (buffers[i].size_bytes > 0) pinned.push_back(i);
  }
  // In order of time, with the live ones by offset: a newcomer can only collide with its two neighbours.
  std::sort(pinned.begin(), pinned.end(), [&](size_t a, size_t b) { return buffers[a].first < buffers[b].first; });
  std::map<int64_t, size_t> live;              // offset → buffer
  std::multimap<int32_t, int64_t> live_until;  // last → offset
  for (const size_t i : pinned) {
    while (!live_until.empty() && live_until.begin()->first < buffers[i].first) {
      live.erase(live_until.begin()->second);
      live_until.erase(live_until.begin());
    }
    const int64_t offset = *buffers[i].pinned_offset;
    const auto above = live.lower_bound(offset);
    const auto collides = [&](size_t other) {
      return "pinned buffers " + std::to_string(other) + " and " + std::to_string(i) + " overlap";
    };
    if (above != live.end()) PLIMSOLL_CHECK(offset + buffers[i].size_bytes <= above->first, collides(above->second));
    if (above != live.begin()) {
      const auto& [other_offset, other] = *std::prev(above);
      PLIMSOLL_CHECK(other_offset + buffers[other].size_bytes <= offset, collides(other));
    }
    live.emplace(offset, i);
    live_until.emplace(buffers[i].last, offset);
  }
  return highest;
}

// For every free item the largest sum of bytes live at a moment of its life: how contended its place is.
std::vector<int64_t> contention(const Problem& problem) {
  std::vector<int64_t> change(static_cast<size_t>(problem.time_count) + 1, 0);
  for (const Item& item : problem.items) {
    change[static_cast<size_t>(item.begin)] += item.bytes;
    change[static_cast<size_t>(item.end)] -= item.bytes;
  }
  size_t leaves = 1;
  while (leaves < change.size()) leaves *= 2;
  std::vector<int64_t> highest(2 * leaves, 0);  // tournament tree over time
  for (size_t t = 0; t + 1 < change.size(); ++t) {
    highest[leaves + t] = change[t];
    change[t + 1] += change[t];
  }
  for (size_t node = leaves - 1; node > 0; --node) highest[node] = std::max(highest[2 * node], highest[2 * node + 1]);
  std::vector<int64_t> result(problem.items.size());
  for (size_t i = 0; i < result.size(); ++i) {
    size_t lo = leaves + static_cast<size_t>(problem.items[i].begin),
           hi = leaves + static_cast<size_t>(problem.items[i].end);
    for (; lo < hi; lo /= 2, hi /= 2) {
      if (lo % 2 == 1) result[i] = std::max(result[i], highest[lo++]);
      if (hi % 2 == 1) result[i] = std::max(result[i], highest[--hi]);
    }
  }
  return result;
}

// The free items by falling key; equal keys by the second key, then as the buffers stand.
template <typename Key>
std::vector<int32_t> order_by(const Problem& problem, Key key) {
  std::vector<std::pair<std::pair<double, double>, int32_t>> keyed;
  keyed.reserve(problem.free_items.size());
  for (const int32_t i : problem.free_items) keyed.emplace_back(key(i, problem.items[static_cast<size_t>(i)]), i);
  std::sort(keyed.begin(), keyed.end(),
            [](const auto& a, const auto& b) { return a.first != b.first ? a.first > b.first : a.second < b.second; });
  std::vector<int32_t> order;
  order.reserve(keyed.size());
  for (const auto& entry : keyed) order.push_back(entry.second);
  return order;
}

std::vector<std::vector<int32_t>> starting_orders(const Problem& problem) {
  using Keys = std::pair<double, double>;
  const auto bytes = [](const Item& item) { return static_cast<double>(item.bytes); };
  const auto duration = [](const Item& item) { return static_cast<double>(item.end - item.begin); };
  const std::vector<int64_t> contended = contention(problem);
  return {
      order_by(problem,
               [&](int32_t, const Item& item) {
                 return Keys{duration(item), bytes(item)};
               }),
      order_by(problem,
               [&](int32_t, const Item& item) {
                 return Keys{bytes(item), duration(item)};
               }),
      order_by(problem,
               [&](int32_t, const Item& item) {
                 return Keys{bytes(item) * duration(item), bytes(item)};
               }),
      order_by(problem,
               [&](int32_t i, const Item& item) {
                 return Keys{static_cast<double>(contended[static_cast<size_t>(i)]), duration(item)};
               }),
      order_by(problem,
               [&](int32_t i, const Item& item) {
                 return Keys{static_cast<double>(contended[static_cast<size_t>(i)]), bytes(item) * duration(item)};
               }),
      order_by(problem,
               [&](int32_t, const Item& item) {
                 return Keys{-static_cast<double>(item.begin), duration(item)};
               }),
  };
}

// Keeps the smallest arena and knows when to stop.
struct Search {
  const Problem& problem;
  int64_t target;  // the lower bound: nothing better exists
  Placement best;
  int64_t work = 0;

  bool offer(Placement candidate) {
    if (candidate.arena_bytes >= best.arena_bytes) return false;
    best = std::move(candidate);
    return true;
  }
  bool done() const { return best.arena_bytes <= target || work > kWorkLimit; }

  // Items as they lie, lowest first. Packed again in this order by first fit, no item comes to lie higher.
  std::vector<int32_t> order_of(const Placement& placement) const {
    std::vector<int32_t> order = problem.free_items;
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      return placement.offsets[static_cast<size_t>(a)] < placement.offsets[static_cast<size_t>(b)];
    });
    return order;
  }

  // "Squeaky wheel" search (Joslin and Clements 1999): items that end above the target move towards the front and all
  // is packed again. When that has brought nothing for a while, it starts again from the best packing with some items
  // moved at random (a fixed seed).
  void improve() {
    constexpr int kPatience = 20;
    std::mt19937_64 random(1);
    std::vector<int32_t> order = order_of(best);
    std::vector<std::pair<int64_t, int32_t>> keyed(order.size());
    int fruitless = 0;
    for (int round = 0; round < kMaxImprovements && !order.empty() && !done(); ++round) {
      const Placement placement = packing::place_first_fit(problem.items, order, work);
      if (offer(placement)) fruitless = 0;
      else ++fruitless;
      for (size_t position = 0; position < order.size(); ++position) keyed[position] = {2 * position, order[position]};
      if (fruitless < kPatience) {
        for (auto& [place, index] : keyed) {
          const auto i = static_cast<size_t>(index);
          if (placement.offsets[i] + problem.items[i].bytes <= target) continue;
          place = place / (1 + static_cast<int64_t>(random() % 4)) - 1;  // just ahead, to a half, a third, a quarter
        }
      } else {
        fruitless = 0;
        const std::vector<int32_t> best_order = order_of(best);
        for (size_t position = 0; position < order.size(); ++position) keyed[position].second = best_order[position];
        for (size_t moves = 2 + random() % 4; moves > 0; --moves)
          keyed[random() % keyed.size()].first = static_cast<int64_t>(random() % (2 * keyed.size())) - 1;
      }
      std::sort(keyed.begin(), keyed.end());
      for (size_t position = 0; position < order.size(); ++position) order[position] = keyed[position].second;
    }
  }
};

}  // namespace

Packing pack_buffers(std::span<const Buffer> buffers) {
  Packing result{std::vector<int64_t>(buffers.size(), 0), 0, find_live_peak(buffers).bytes};
  const int64_t pinned_end = check_pinned(buffers);
  result.lower_bound_bytes = std::max(result.lower_bound_bytes, pinned_end);
  const Problem problem = build_problem(buffers);
  int64_t highest = pinned_end;  // no placer goes above the pinned buffers and all others on top of each other
  for (const Item& item : problem.items)
    PLIMSOLL_CHECK(!__builtin_add_overflow(highest, item.bytes + item.alignment, &highest),
                   "arena of more than 2^63 bytes");

  Search search{problem, result.lower_bound_bytes, {{}, std::numeric_limits<int64_t>::max()}};
  const std::vector<std::vector<int32_t>> orders = starting_orders(problem);
  for (const std::vector<int32_t>& order : orders)
    if (!search.done()) search.offer(packing::place_skyline(problem.items, order, problem.time_count));
  for (const std::vector<int32_t>& order : orders)
    if (!search.done()) search.offer(packing::place_first_fit(problem.items, order, search.work));
  if (!search.done()) search.improve();

  result.arena_bytes = std::max(search.best.arena_bytes, pinned_end);
  for (size_t i = 0; i < problem.items.size(); ++i)
    result.offsets[static_cast<size_t>(problem.buffer_of[i])] = search.best.offsets[i];
  for (size_t i = 0; i < buffers.size(); ++i)
    if (buffers[i].pinned_offset) result.offsets[i] = *buffers[i].pinned_offset;
  return result;
}

}  // namespace plimsoll
