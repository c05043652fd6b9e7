#include "memory/live_range.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <string>

#include "base/bytes.h"
#include "base/error.h"

namespace plimsoll {
namespace {

Error too_large() {
  return caller_error("memory plan", "the buffers add up to more than 2^63 bytes",
                      "use a smaller model, batch or sequence");
}

struct Change {
  int64_t time;  // int64: one past the last int32 is a time, too
  int64_t bytes;
};

}  // namespace

int64_t occupied_bytes(const Buffer& buffer) {
  PLIMSOLL_CHECK(buffer.size_bytes >= 0, "buffer of " + std::to_string(buffer.size_bytes) + " bytes");
  PLIMSOLL_CHECK(buffer.alignment > 0 && std::has_single_bit(static_cast<uint64_t>(buffer.alignment)),
                 "alignment of " + std::to_string(buffer.alignment));
  PLIMSOLL_CHECK(buffer.first >= 0 && buffer.first <= buffer.last,
                 "live range " + std::to_string(buffer.first) + ".." + std::to_string(buffer.last));
  if (buffer.size_bytes > std::numeric_limits<int64_t>::max() - buffer.alignment) throw too_large();
  return round_up(buffer.size_bytes, buffer.alignment);
}

LivePeak find_live_peak(std::span<const Buffer> buffers) {
  std::vector<Change> changes;
  changes.reserve(2 * buffers.size());
  int64_t total = 0;  // if all of them together fit int64, so does every sum below
  for (const Buffer& buffer : buffers) {
    const int64_t bytes = occupied_bytes(buffer);
    if (__builtin_add_overflow(total, bytes, &total)) throw too_large();
    changes.push_back({buffer.first, bytes});
    changes.push_back({int64_t{buffer.last} + 1, -bytes});
  }
  // Ends before starts at the same time: the order of additions then never exceeds the true sum.
  std::sort(changes.begin(), changes.end(),
            [](const Change& a, const Change& b) { return a.time != b.time ? a.time < b.time : a.bytes < b.bytes; });
  LivePeak peak;
  int64_t live = 0;
  for (const Change& change : changes) {
    live += change.bytes;
    if (live > peak.bytes) peak = {live, static_cast<int32_t>(change.time)};
  }
  return peak;
}

std::vector<int32_t> buffers_live_at(std::span<const Buffer> buffers, int32_t time) {
  std::vector<int32_t> live;
  for (size_t i = 0; i < buffers.size(); ++i)
    if (buffers[i].first <= time && time <= buffers[i].last) live.push_back(static_cast<int32_t>(i));
  return live;
}

}  // namespace plimsoll
