#include "data/token_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "base/error.h"

namespace plimsoll {
namespace {

constexpr size_t kBufferBytes = 128 << 10;

int open_unnamed(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) return fd;
  std::string name = folder + "/plimsoll-tokens-XXXXXX";  // a file system without O_TMPFILE
  const int named = ::mkostemp(name.data(), O_CLOEXEC);
  if (named >= 0) ::unlink(name.c_str());
  return named;
}

}  // namespace

ScratchFile::ScratchFile(std::string folder) : folder_(std::move(folder)), fd_(open_unnamed(folder_)) {
  if (fd_ < 0)
    throw world_error(folder_, "the temporary file for tokens cannot be created", "set TMPDIR to a folder with room",
                      errno);
}

ScratchFile::~ScratchFile() {
  if (fd_ >= 0) ::close(fd_);
}

ScratchFile::ScratchFile(ScratchFile&& other) noexcept
    : folder_(std::move(other.folder_)), fd_(std::exchange(other.fd_, -1)), buffer_(std::move(other.buffer_)) {}

void ScratchFile::append(std::span<const std::byte> bytes) {
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  if (buffer_.size() >= kBufferBytes) flush();
}

void ScratchFile::flush() {
  const std::byte* data = buffer_.data();
  for (size_t left = buffer_.size(); left > 0;) {
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

void ScratchFile::finish() {
  flush();
  std::vector<std::byte>().swap(buffer_);
}

void ScratchFile::read(int64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t got = ::pread(fd_, out.data(), out.size(), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0)
      throw world_error(folder_, "the temporary file for tokens cannot be read", "check the disk", got < 0 ? errno : 0);
    out = out.subspan(static_cast<size_t>(got));
    offset += got;
  }
}

std::string scratch_folder() {
  const char* folder = std::getenv("TMPDIR");
  if (folder != nullptr && *folder != '\0') return folder;
  return ::access("/var/tmp", W_OK | X_OK) == 0 ? "/var/tmp" : "/tmp";  // /tmp is often memory
}

TokenCache::TokenCache(const std::string& folder, int64_t examples_in_memory)
    : values_(folder), index_(folder), examples_in_memory_(examples_in_memory) {
  index_.append(std::as_bytes(std::span(&tokens_, 1)));
}

void TokenCache::append(std::span<const int32_t> ids, std::span<const int32_t> labels) {
  PLIMSOLL_CHECK(ids.size() == labels.size(), "ids and labels of an example differ in length");
  values_.append(std::as_bytes(ids));
  values_.append(std::as_bytes(labels));
  tokens_ += static_cast<int64_t>(ids.size());
  index_.append(std::as_bytes(std::span(&tokens_, 1)));
  ++size_;
}

void TokenCache::finish() {
  values_.finish();
  index_.finish();
  if (size_ > examples_in_memory_) return;
  starts_.resize(static_cast<size_t>(size_) + 1);
  index_.read(0, std::as_writable_bytes(std::span(starts_)));
}

TokenCache::Range TokenCache::range(int64_t example) const {
  PLIMSOLL_CHECK(example >= 0 && example < size_, "there is no such example");
  if (!starts_.empty()) return {starts_[static_cast<size_t>(example)], starts_[static_cast<size_t>(example) + 1]};
  Range range{};
  index_.read(example * static_cast<int64_t>(sizeof(int64_t)), std::as_writable_bytes(std::span(&range, 1)));
  return range;
}

int64_t TokenCache::length(int64_t example) const {
  const Range found = range(example);
  return found.end - found.begin;
}

void TokenCache::read(int64_t example, std::span<int32_t> ids, std::span<int32_t> labels) const {
  const auto [begin, end] = range(example);
  PLIMSOLL_CHECK(static_cast<int64_t>(ids.size()) == end - begin && labels.size() == ids.size(),
                 "a buffer for an example has another length");
  values_.read(begin * 8, std::as_writable_bytes(ids));
  values_.read(begin * 8 + (end - begin) * 4, std::as_writable_bytes(labels));
}

}  // namespace plimsoll
