// Examples (ids and labels) in a temporary file that has no name: the system removes it when the process ends, however
// it ends. Only where each example starts is kept in memory.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace plimsoll {

class TokenCache {
 public:
  // In `folder`, which must exist. Failures to create, write or read are world Errors.
  explicit TokenCache(std::string folder);
  ~TokenCache();
  TokenCache(TokenCache&& other) noexcept;
  TokenCache& operator=(TokenCache&&) = delete;

  void append(std::span<const int32_t> ids, std::span<const int32_t> labels);  // of one length
  void finish();                                                               // nothing is appended after this

  int64_t size() const { return static_cast<int64_t>(starts_.size()) - 1; }
  int64_t length(int64_t example) const {
    return starts_[static_cast<size_t>(example) + 1] - starts_[static_cast<size_t>(example)];
  }
  // Needs finish(). Thread-safe.
  void read(int64_t example, std::span<int32_t> ids, std::span<int32_t> labels) const;

  int64_t bytes() const { return static_cast<int64_t>(starts_.capacity() * sizeof(int64_t)); }
  int64_t disk_bytes() const { return starts_.back() * 8; }

 private:
  void flush();

  std::string folder_;
  int fd_ = -1;
  std::vector<int64_t> starts_{0};  // in tokens; one more than there are examples
  std::vector<int32_t> buffer_;     // on its way to the file
};

}  // namespace plimsoll
