#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "memory/offset_allocator_placers.h"

namespace plimsoll::packing {
namespace {

constexpr int32_t kNone = std::numeric_limits<int32_t>::max();

// The items that wait, as a tournament tree over their begin: "the first in order that lies within [begin, end)".
class WaitingItems {
 public:
  WaitingItems(std::span<const Item> items, std::span<const int32_t> order) : by_begin_(order.begin(), order.end()) {
    std::vector<int32_t> rank(items.size(), kNone);
    for (size_t i = 0; i < order.size(); ++i) rank[static_cast<size_t>(order[i])] = static_cast<int32_t>(i);
    std::sort(by_begin_.begin(), by_begin_.end(), [&](int32_t a, int32_t b) {
      const Item &x = items[static_cast<size_t>(a)], &y = items[static_cast<size_t>(b)];
      return x.begin != y.begin ? x.begin < y.begin : a < b;
    });
    while (leaves_ < by_begin_.size()) leaves_ *= 2;
    nodes_.assign(2 * leaves_, Node{});
    begins_.reserve(by_begin_.size());
    for (size_t i = 0; i < by_begin_.size(); ++i) {
      const auto index = static_cast<size_t>(by_begin_[i]);
      begins_.push_back(items[index].begin);
      nodes_[leaves_ + i] = {items[index].end, rank[index]};
    }
    for (size_t node = leaves_ - 1; node > 0; --node) update(node);
  }

  // Takes the item out and returns its index, or -1 when none lies within [begin, end).
  int32_t take(int32_t begin, int32_t end) {
    lo_ = static_cast<size_t>(std::lower_bound(begins_.begin(), begins_.end(), begin) - begins_.begin());
    hi_ = static_cast<size_t>(std::lower_bound(begins_.begin(), begins_.end(), end) - begins_.begin());
    end_ = end;
    best_rank_ = kNone;
    search(1, 0, leaves_);
    if (best_rank_ == kNone) return -1;
    nodes_[leaves_ + best_leaf_] = Node{};
    for (size_t node = (leaves_ + best_leaf_) / 2; node > 0; node /= 2) update(node);
    return by_begin_[best_leaf_];
  }

 private:
  struct Node {
    int32_t min_end = kNone;
    int32_t min_rank = kNone;
  };

  void update(size_t node) {
    const Node &a = nodes_[2 * node], &b = nodes_[2 * node + 1];
    nodes_[node] = {std::min(a.min_end, b.min_end), std::min(a.min_rank, b.min_rank)};
  }

  void search(size_t node, size_t from, size_t to) {
    const Node& here = nodes_[node];
    if (from >= hi_ || to <= lo_ || here.min_end > end_ || here.min_rank >= best_rank_) return;
    if (node >= leaves_) {
      best_rank_ = here.min_rank;
      best_leaf_ = from;
      return;
    }
    const size_t middle = (from + to) / 2;
    if (nodes_[2 * node].min_rank < nodes_[2 * node + 1].min_rank) {
      search(2 * node, from, middle);
      search(2 * node + 1, middle, to);
    } else {
      search(2 * node + 1, middle, to);
      search(2 * node, from, middle);
    }
  }

  std::vector<int32_t> by_begin_, begins_;
  std::vector<Node> nodes_;
  size_t leaves_ = 1;
  size_t lo_ = 0, hi_ = 0, best_leaf_ = 0;
  int32_t end_ = 0, best_rank_ = kNone;
};

// The outline of what is placed: time cut into segments of one height each.
class Skyline {
 public:
  struct Segment {
    int32_t begin, end;
    int64_t height;
  };

  Skyline(std::span<const Item> items, int32_t time_count) {
    // Start on top of the pinned items: a sweep with the heights of those that are live.
    std::map<int32_t, std::vector<std::pair<int64_t, bool>>> events;
    for (const Item& item : items) {
      if (item.pinned_offset < 0) continue;
      events[item.begin].emplace_back(item.pinned_offset + item.bytes, true);
      events[item.end].emplace_back(item.pinned_offset + item.bytes, false);
    }
    std::multiset<int64_t> live;
    int32_t from = 0;
    const auto add_until = [&](int32_t until) {
      if (until > from) append({from, until, live.empty() ? 0 : *live.rbegin()});
      from = until;
    };
    for (const auto& [time, changes] : events) {
      add_until(time);
      for (const auto& [height, starts] : changes) {
        if (starts) live.insert(height);
        else live.erase(live.find(height));
      }
    }
    add_until(time_count);
  }

  Segment lowest() const {
    const auto [height, begin] = *by_height_.begin();
    const auto& [end, same_height] = segments_.at(begin);
    return {begin, end, same_height};
  }

  // Replaces the lowest segment by up to three: `height` over [begin, end), the old height beside it.
  void raise_part(const Segment& segment, int32_t begin, int32_t end, int64_t height) {
    remove(segment);
    if (segment.begin < begin) add({segment.begin, begin, segment.height});
    if (end < segment.end) add({end, segment.end, segment.height});
    add({begin, end, height});
    merge_around(begin);
  }

  // Nothing fits into the lowest segment: it is given up as far as its lower neighbour.
  void raise_to_neighbour(const Segment& segment) {
    const auto it = segments_.find(segment.begin);
    int64_t height = std::numeric_limits<int64_t>::max();
    if (it != segments_.begin()) height = std::prev(it)->second.second;
    if (std::next(it) != segments_.end()) height = std::min(height, std::next(it)->second.second);
    remove(segment);
    add({segment.begin, segment.end, height});
    merge_around(segment.begin);
  }

 private:
  void add(const Segment& segment) {
    segments_[segment.begin] = {segment.end, segment.height};
    by_height_.emplace(segment.height, segment.begin);
  }
  void append(const Segment& segment) {
    add(segment);
    merge_around(segment.begin);
  }
  void remove(const Segment& segment) {
    segments_.erase(segment.begin);
    by_height_.erase({segment.height, segment.begin});
  }
  void merge_around(int32_t begin) {
    auto it = segments_.find(begin);
    Segment merged{begin, it->second.first, it->second.second};
    if (const auto next = std::next(it); next != segments_.end() && next->second.second == merged.height) {
      const Segment other{next->first, next->second.first, merged.height};
      remove(other);
      merged.end = other.end;
    }
    it = segments_.find(begin);
    if (it != segments_.begin() && std::prev(it)->second.second == merged.height) {
      const Segment other{std::prev(it)->first, std::prev(it)->second.first, merged.height};
      remove(other);
      merged.begin = other.begin;
    }
    remove({begin, 0, merged.height});
    add(merged);
  }

  std::map<int32_t, std::pair<int32_t, int64_t>> segments_;  // begin → end, height
  std::set<std::pair<int64_t, int32_t>> by_height_;          // height, begin
};

}  // namespace

Placement place_skyline(std::span<const Item> items, std::span<const int32_t> order, int32_t time_count) {
  Placement placement{std::vector<int64_t>(items.size(), 0), 0};
  for (size_t i = 0; i < items.size(); ++i) {
    if (items[i].pinned_offset < 0) continue;
    placement.offsets[i] = items[i].pinned_offset;
    placement.arena_bytes = std::max(placement.arena_bytes, items[i].pinned_offset + items[i].bytes);
  }
  if (order.empty()) return placement;
  WaitingItems waiting(items, order);
  Skyline skyline(items, time_count);
  for (size_t placed = 0; placed < order.size();) {
    const Skyline::Segment segment = skyline.lowest();
    const int32_t index = waiting.take(segment.begin, segment.end);
    if (index < 0) {
      skyline.raise_to_neighbour(segment);
      continue;
    }
    const Item& item = items[static_cast<size_t>(index)];
    const int64_t offset = align_up(segment.height, item.alignment);
    placement.offsets[static_cast<size_t>(index)] = offset;
    placement.arena_bytes = std::max(placement.arena_bytes, offset + item.bytes);
    skyline.raise_part(segment, item.begin, item.end, offset + item.bytes);
    ++placed;
  }
  return placement;
}

}  // namespace plimsoll::packing
