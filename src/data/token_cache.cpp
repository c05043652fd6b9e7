#include "data/token_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "base/error.h"

namespace plimsoll {
namespace {

constexpr size_t kBufferValues = 64 << 10;

int open_unnamed(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) return fd;
  std::string name = folder + "/plimsoll-tokens-XXXXXX";  // a file system without O_TMPFILE
  const int named = ::mkostemp(name.data(), O_CLOEXEC);
  if (named >= 0) ::unlink(name.c_str());
  return named;
}

}  // namespace

TokenCache::TokenCache(std::string folder) : folder_(std::move(folder)) {
  fd_ = open_unnamed(folder_);
  if (fd_ < 0)
    throw world_error(folder_, "the temporary file for tokens cannot be created", "set TMPDIR to a folder with room",
                      errno);
}

TokenCache::~TokenCache() {
  if (fd_ >= 0) ::close(fd_);
}

TokenCache::TokenCache(TokenCache&& other) noexcept
    : folder_(std::move(other.folder_)),
      fd_(std::exchange(other.fd_, -1)),
      starts_(std::move(other.starts_)),
      buffer_(std::move(other.buffer_)) {
  other.starts_.assign(1, 0);
}

void TokenCache::append(std::span<const int32_t> ids, std::span<const int32_t> labels) {
  PLIMSOLL_CHECK(ids.size() == labels.size(), "ids and labels of an example differ in length");
  buffer_.insert(buffer_.end(), ids.begin(), ids.end());
  buffer_.insert(buffer_.end(), labels.begin(), labels.end());
  starts_.push_back(starts_.back() + static_cast<int64_t>(ids.size()));
  if (buffer_.size() >= kBufferValues) flush();
}

void TokenCache::flush() {
  const char* data = reinterpret_cast<const char*>(buffer_.data());
  for (size_t left = buffer_.size() * sizeof(int32_t); left > 0;) {
    const ssize_t written = ::write(fd_, data, left);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0)
      throw world_error(folder_, "the temporary file for tokens cannot be written", "set TMPDIR to a folder with room",
                        errno);
    data += written;
    left -= static_cast<size_t>(written);
  }
  buffer_.clear();
}

void TokenCache::finish() {
  flush();
  std::vector<int32_t>().swap(buffer_);
  starts_.shrink_to_fit();
}

void TokenCache::read(int64_t example, std::span<int32_t> ids, std::span<int32_t> labels) const {
  const int64_t tokens = length(example);
  PLIMSOLL_CHECK(static_cast<int64_t>(ids.size()) == tokens && static_cast<int64_t>(labels.size()) == tokens,
                 "a buffer for an example has another length");
  int64_t offset = starts_[static_cast<size_t>(example)] * 8;
  for (const std::span<int32_t> part : {ids, labels}) {
    char* out = reinterpret_cast<char*>(part.data());
    for (size_t left = part.size_bytes(); left > 0;) {
      const ssize_t got = ::pread(fd_, out, left, offset);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0)
        throw world_error(folder_, "the temporary file for tokens cannot be read", "check the disk",
                          got < 0 ? errno : 0);
      out += got;
      offset += got;
      left -= static_cast<size_t>(got);
    }
  }
}

}  // namespace plimsoll
