#include "memory/plan_validator.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

namespace plimsoll {
namespace {

class Validator {
 public:
  Validator(std::span<const Buffer> buffers, const Packing& packing, const ValidationContext& context)
      : buffers_(buffers), packing_(packing), context_(context) {}

  std::vector<std::string> run() && {
    if (packing_.offsets.size() != buffers_.size()) {
      report("{} offsets for {} buffers", packing_.offsets.size(), buffers_.size());
      return std::move(violations_);
    }
    if (packing_.arena_bytes < 0) report("the arena has {} bytes", packing_.arena_bytes);
    std::vector<size_t> sound;
    for (size_t i = 0; i < buffers_.size(); ++i)
      if (check_buffer(i) && buffers_[i].size_bytes > 0) sound.push_back(i);
    check_accesses();
    check_overlaps(sound);
    check_lower_bound(sound);
    if (count_ > violations_.size()) violations_.push_back(fmt::format("and {} more", count_ - violations_.size()));
    return std::move(violations_);
  }

 private:
  template <typename... Args>
  void report(fmt::format_string<Args...> format, Args&&... args) {
    if (++count_ <= context_.max_violations) violations_.push_back(fmt::format(format, std::forward<Args>(args)...));
  }

  std::string name(size_t i) const {
    return i < context_.names.size() ? context_.names[i] : fmt::format("buffer {}", i);
  }

  // True when its place in time and space makes sense, so that overlaps can be looked for.
  bool check_buffer(size_t i) {
    const Buffer& buffer = buffers_[i];
    const int64_t offset = packing_.offsets[i];
    if (buffer.size_bytes < 0) {
      report("{}: {} bytes", name(i), buffer.size_bytes);
      return false;
    }
    if (buffer.first < 0 || buffer.first > buffer.last) {
      report("{}: live from op {} to op {}", name(i), buffer.first, buffer.last);
      return false;
    }
    if (context_.schedule_length >= 0 && buffer.last >= context_.schedule_length)
      report("{}: live until op {} of a schedule of {}", name(i), buffer.last, context_.schedule_length);
    if (buffer.alignment <= 0 || (buffer.alignment & (buffer.alignment - 1)) != 0)
      report("{}: alignment {} is no power of two", name(i), buffer.alignment);
    else if (offset % buffer.alignment != 0)
      report("{}: offset {} is no multiple of {}", name(i), offset, buffer.alignment);
    if (buffer.pinned_offset && *buffer.pinned_offset != offset)
      report("{}: at offset {}, but pinned at {}", name(i), offset, *buffer.pinned_offset);
    if (offset < 0) {
      report("{}: offset {} is below the arena", name(i), offset);
      return false;
    }
    int64_t end = 0;
    if (__builtin_add_overflow(offset, buffer.size_bytes, &end)) {
      report("{}: offset {} plus {} bytes overflows", name(i), offset, buffer.size_bytes);
      return false;
    }
    if (end > packing_.arena_bytes)
      report("{}: bytes {}..{} leave the arena of {} bytes", name(i), offset, end, packing_.arena_bytes);
    return true;
  }

  void check_accesses() {
    for (const BufferAccess& access : context_.accesses) {
      if (access.buffer < 0 || static_cast<size_t>(access.buffer) >= buffers_.size()) {
        report("op {} uses buffer {} of {}", access.time, access.buffer, buffers_.size());
        continue;
      }
      const auto i = static_cast<size_t>(access.buffer);
      if (access.time < buffers_[i].first || access.time > buffers_[i].last)
        report("{}: used by op {}, but live from op {} to op {}", name(i), access.time, buffers_[i].first,
               buffers_[i].last);
    }
  }

  // Goes through time with the live buffers in order of offset. As long as those do not overlap, a newcomer overlaps
  // one of its two neighbours or none; one that does is reported and left out.
  void check_overlaps(std::vector<size_t> order) {
    std::sort(order.begin(), order.end(),
              [&](size_t a, size_t b) { return std::pair(buffers_[a].first, a) < std::pair(buffers_[b].first, b); });
    std::map<int64_t, size_t> live;
    std::multimap<int32_t, size_t> by_last;
    for (const size_t i : order) {
      while (!by_last.empty() && by_last.begin()->first < buffers_[i].first) {
        live.erase(packing_.offsets[by_last.begin()->second]);
        by_last.erase(by_last.begin());
      }
      auto above = live.lower_bound(packing_.offsets[i]);
      bool overlaps = false;
      if (above != live.end()) overlaps |= report_overlap(above->second, i);
      if (above != live.begin()) overlaps |= report_overlap(std::prev(above)->second, i);
      if (overlaps) continue;
      live.emplace_hint(above, packing_.offsets[i], i);
      by_last.emplace(buffers_[i].last, i);
    }
  }

  bool report_overlap(size_t a, size_t b) {
    const int64_t from = std::max(packing_.offsets[a], packing_.offsets[b]);
    const int64_t to =
        std::min(packing_.offsets[a] + buffers_[a].size_bytes, packing_.offsets[b] + buffers_[b].size_bytes);
    if (from >= to) return false;
    report("{} and {} share bytes {}..{} from op {} to op {}", name(a), name(b), from, to,
           std::max(buffers_[a].first, buffers_[b].first), std::min(buffers_[a].last, buffers_[b].last));
    return true;
  }

  void check_lower_bound(const std::vector<size_t>& sound) {
    std::map<int64_t, __int128> change;  // at an op, in live bytes
    for (const size_t i : sound) {
      change[buffers_[i].first] += buffers_[i].size_bytes;
      change[int64_t{buffers_[i].last} + 1] -= buffers_[i].size_bytes;
    }
    __int128 live = 0;
    for (const auto& [time, bytes] : change) {
      live += bytes;
      if (live > packing_.lower_bound_bytes) {
        report("at op {} {} bytes are live, more than the stated lower bound of {}", time, static_cast<double>(live),
               packing_.lower_bound_bytes);
        break;
      }
    }
    if (packing_.lower_bound_bytes > packing_.arena_bytes)
      report("the arena of {} bytes is smaller than the stated lower bound of {}", packing_.arena_bytes,
             packing_.lower_bound_bytes);
  }

  std::span<const Buffer> buffers_;
  const Packing& packing_;
  const ValidationContext& context_;
  std::vector<std::string> violations_;
  size_t count_ = 0;
};

}  // namespace

std::vector<std::string> validate_packing(std::span<const Buffer> buffers, const Packing& packing,
                                          const ValidationContext& context) {
  return Validator(buffers, packing, context).run();
}

}  // namespace plimsoll
