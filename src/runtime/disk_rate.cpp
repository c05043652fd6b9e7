#include "runtime/disk_rate.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "config/user_cache.h"
#include "memory/storage.h"
#include "runtime/weight_stream.h"

namespace plimsoll {
namespace {

constexpr int64_t kPiece = 8 * kMiB;  // of a layer's weights, about
constexpr int kPieces = 8;
constexpr double kDaysKept = 7;

// The very reads of a run: two pieces are under way at once.
double measure(const std::string& folder) {
  std::vector<WeightStream::Tensor> tensors;
  for (int i = 0; i < kPieces; ++i) tensors.push_back({std::to_string(i), kPiece});
  WeightStream stream(folder + fmt::format("/.plimsoll-disk-{}", ::getpid()), tensors);
  const std::unique_ptr<std::byte, void (*)(void*)> memory(
      static_cast<std::byte*>(std::aligned_alloc(kDiskAlignment, 2 * kPiece)), std::free);
  if (!memory) throw std::bad_alloc();
  std::byte* const places[] = {memory.get(), memory.get() + kPiece};
  for (int64_t i = 0; i < 2 * kPiece; ++i) memory.get()[i] = static_cast<std::byte>(i * 2654435761U >> 13);
  for (const WeightStream::Tensor& tensor : tensors) stream.write(tensor.name, {places[0], kPiece});
  const auto start = std::chrono::steady_clock::now();
  stream.prefetch(tensors[0].name, places[0]);
  for (int i = 0; i < kPieces; ++i) {
    if (i + 1 < kPieces) stream.prefetch(tensors[static_cast<size_t>(i) + 1].name, places[(i + 1) % 2]);
    stream.await(places[i % 2]);
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return static_cast<double>(kPiece * kPieces) / seconds.count();
}

}  // namespace

std::optional<double> disk_read_rate(const std::string& folder) {
  struct stat facts {};
  if (::stat(folder.c_str(), &facts) != 0) return {};
  const std::string name = fmt::format("disk-{}-{}", major(facts.st_dev), minor(facts.st_dev));
  if (const auto kept = read_user_cache(name, kDaysKept))
    if (const auto rate = parse_integer(std::string_view(*kept).substr(0, kept->find('\n'))); rate && *rate > 0)
      return static_cast<double>(*rate);
  struct statvfs space {};
  if (::statvfs(folder.c_str(), &space) != 0 ||
      static_cast<double>(space.f_bavail) * static_cast<double>(space.f_frsize) < 4.0 * kPiece * kPieces)
    return {};
  try {
    const double rate = measure(folder);
    write_user_cache(name, fmt::format("{:.0f}\n", rate));
    return rate;
  } catch (const Error&) {
    return {};  // read-only, or full
  }
}

}  // namespace plimsoll
