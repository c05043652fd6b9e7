// Files that are complete or absent: written without a name on the target's file system, synced, then put into place.
// So a writer that is killed leaves nothing; where a file system has no unnamed files, they have a temporary name
// beside it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace plimsoll {

// A link is followed; a device or pipe is written to in place, and a note says when a pipe has no reader yet. A folder
// is a caller Error.
// Bytes go out through a buffer of kBufferBytes; large pieces go out directly. A destructor without finish() leaves
// nothing. Every failure (full disk, no permission, missing folder) is a world Error.
class OutputFile {
 public:
  static constexpr int64_t kBufferBytes = 64 << 10;

  explicit OutputFile(std::string path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  const std::string& path() const { return path_; }
  int64_t written_bytes() const { return written_bytes_; }
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }
  void write_zeros(int64_t count);
  // Room on the disk for so many bytes from here on, where the file system can say so: a disk that is too full is told
  // of before the work.
  void reserve(int64_t bytes);
  // fsync, the target's name, fsync of the folder. Nothing may be written afterwards.
  void finish();

 private:
  void flush();
  void give_name();
  void write_through(std::span<const std::byte> bytes);
  [[noreturn]] void fail(const char* problem, int errno_value);

  std::string path_, temporary_;  // temporary_ is empty for an unnamed file
  bool in_place_ = false;
  int fd_ = -1;
  int64_t written_bytes_ = 0;
  std::vector<std::byte> buffer_;
};

// Removes the temporary files that writers which were killed left in `folder`, if it is there. Nobody else may be
// writing into it.
void remove_leftovers(const std::string& folder);

void write_file_atomically(const std::string& path, std::string_view text);

// Makes entries of a folder (new files, renames) durable. World Error when it cannot.
void sync_folder(const std::string& folder);

// A world Error unless the disk of `folder`, which need not be there yet, has `bytes` free.
void require_free_disk(const std::string& folder, int64_t bytes);

}  // namespace plimsoll
