// Examples (ids and labels) in a temporary file that has no name: the system removes it when the process ends, however
// it ends. Where each example starts is kept in memory for up to `examples_in_memory`, of more in a second such file.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace plimsoll {

// Values written one behind another, then read anywhere. Failures to create, write or read are world Errors.
class ScratchFile {
 public:
  explicit ScratchFile(std::string folder);  // which must exist
  ~ScratchFile();
  ScratchFile(ScratchFile&& other) noexcept;
  ScratchFile& operator=(ScratchFile&&) = delete;

  void append(std::span<const std::byte> bytes);  // buffered
  void finish();                                  // nothing is appended after this; the buffer is given back
  void read(int64_t offset, std::span<std::byte> out) const;  // needs finish(). Thread-safe

 private:
  void flush();

  std::string folder_;
  int fd_ = -1;
  std::vector<std::byte> buffer_;  // on its way to the file
};

std::string scratch_folder();  // of such files: $TMPDIR, else /var/tmp (a disk), else /tmp

class TokenCache {
 public:
  TokenCache(const std::string& folder, int64_t examples_in_memory);

  void append(std::span<const int32_t> ids, std::span<const int32_t> labels);  // of one length
  void finish();                                                               // nothing is appended after this

  int64_t size() const { return size_; }
  // These need finish(). Thread-safe.
  int64_t length(int64_t example) const;
  void read(int64_t example, std::span<int32_t> ids, std::span<int32_t> labels) const;

  int64_t bytes() const { return static_cast<int64_t>(starts_.capacity() * sizeof(int64_t)); }
  int64_t disk_bytes() const { return tokens_ * 8; }  // without the index

 private:
  struct Range {
    int64_t begin, end;  // in tokens
  };
  Range range(int64_t example) const;

  ScratchFile values_, index_;
  int64_t examples_in_memory_;
  int64_t size_ = 0, tokens_ = 0;
  std::vector<int64_t> starts_;  // in tokens, one more than there are examples; empty while they are on disk
};

}  // namespace plimsoll
