#include <sys/mman.h>

#include <cerrno>

#include "base/bytes.h"
#include "base/error.h"
#include "runtime/executor.h"

namespace plimsoll {
namespace {
constexpr int64_t kHugePage = 2 * kMiB;
}

Arena::Arena(int64_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  mapped_bytes_ = round_up(bytes, int64_t{4096});
  // Large arenas start on a huge-page boundary; only whole huge pages inside them are asked for, so rounding adds
  // nothing.
  const int64_t slack = bytes >= kHugePage ? kHugePage : 0;
  void* raw = mmap(nullptr, static_cast<size_t>(mapped_bytes_ + slack), PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED)
    throw world_error("arena", "cannot reserve " + format_bytes(bytes), "free memory, or give a smaller --memory",
                      errno);
  auto* start = static_cast<std::byte*>(raw);
  auto* aligned = start;
  if (slack > 0) {
    const auto address = reinterpret_cast<uintptr_t>(start);
    aligned = start + (round_up(static_cast<int64_t>(address), kHugePage) - static_cast<int64_t>(address));
    if (aligned > start) munmap(start, static_cast<size_t>(aligned - start));
    const int64_t tail = (start + mapped_bytes_ + slack) - (aligned + mapped_bytes_);
    if (tail > 0) munmap(aligned + mapped_bytes_, static_cast<size_t>(tail));
  }
  data_ = aligned;
  if (mprotect(data_, static_cast<size_t>(mapped_bytes_), PROT_READ | PROT_WRITE) != 0) {
    const int error = errno;
    munmap(data_, static_cast<size_t>(mapped_bytes_));
    throw world_error("arena", "cannot allocate " + format_bytes(bytes), "free memory, or give a smaller --memory",
                      error);
  }
  const int64_t huge = mapped_bytes_ / kHugePage * kHugePage;
  if (huge > 0) madvise(data_, static_cast<size_t>(huge), MADV_HUGEPAGE);
  for (int64_t offset = 0; offset < mapped_bytes_; offset += 4096) data_[offset] = std::byte{0};
}

Arena::~Arena() {
  if (data_ != nullptr) munmap(data_, static_cast<size_t>(mapped_bytes_));
}

}  // namespace plimsoll
