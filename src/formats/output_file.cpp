#include "formats/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "base/bytes.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

namespace plimsoll {
namespace {

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

constexpr std::string_view kTemporaryMark = ".tmp-";

std::string temporary_name(const std::string& path) {
  static std::atomic<unsigned> counter{0};  // two writers of one process must not meet
  return path + std::string(kTemporaryMark) + std::to_string(::getpid()) + "-" + std::to_string(counter++);
}

constexpr const char* kMyFiles = "/proc/self/fd";

// A file without a name, which goes with the process however that ends; -1 where the file system has none.
int open_unnamed(const std::string& folder) {
  if (::access(kMyFiles, X_OK) != 0) return -1;  // finish() could not name it
  return ::open(folder.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
}

// A pipe opens when somebody reads from it: what is waited for is said.
int open_in_place(const std::string& path, bool pipe) {
  if (!pipe) return ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0 && errno == ENXIO) {
    log_note(one_line(path, 200) + ": is a pipe; waiting for somebody to read it");
    do fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    while (fd < 0 && errno == EINTR);
  } else if (fd >= 0) {
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  }
  return fd;
}

// The file that a link names, so that the link stays.
std::string behind_links(const std::string& path) {
  std::error_code error;
  const std::filesystem::path real = std::filesystem::canonical(path, error);
  return error ? path : real.string();
}

}  // namespace

OutputFile::OutputFile(std::string path) : path_(std::move(path)) {
  struct stat target {};
  const bool exists = ::stat(path_.c_str(), &target) == 0;
  if (exists && S_ISDIR(target.st_mode)) throw caller_error(path_, "is a folder", "give the name of a file");
  // A device or pipe is written to as it is: a rename would put a plain file in its place.
  const bool in_place = exists && !S_ISREG(target.st_mode);
  if (exists && !in_place) path_ = behind_links(path_);
  buffer_.reserve(kBufferBytes);
  in_place_ = in_place;
  if (in_place_) {
    fd_ = open_in_place(path_, S_ISFIFO(target.st_mode));
  } else {
    fd_ = open_unnamed(folder_of(path_));
    if (fd_ < 0) {
      temporary_ = temporary_name(path_);
      fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    }
  }
  if (fd_ < 0)
    throw world_error(path_, "cannot be written", "check that its folder exists and may be written to", errno);
}

OutputFile::~OutputFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void OutputFile::fail(const char* problem, int errno_value) {
  const char* way_out = errno_value == ENOSPC || errno_value == EDQUOT ? "free some space, or write to another disk"
                                                                       : "check the disk that the file goes to";
  throw world_error(path_, problem, way_out, errno_value);
}

void OutputFile::write_through(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd_, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail("cannot be written", errno);
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
}

void OutputFile::flush() {
  write_through(buffer_);
  buffer_.clear();
}

void OutputFile::write(std::span<const std::byte> bytes) {
  PLIMSOLL_CHECK(fd_ >= 0, "the file is finished");
  written_bytes_ += static_cast<int64_t>(bytes.size());
  if (buffer_.size() + bytes.size() > kBufferBytes) flush();
  if (bytes.size() >= kBufferBytes) return write_through(bytes);
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

void OutputFile::write_zeros(int64_t count) {
  static constexpr std::array<std::byte, 256> kZeros{};
  for (; count > 0; count -= static_cast<int64_t>(kZeros.size())) {
    write(std::span(kZeros).first(static_cast<size_t>(std::min<int64_t>(count, kZeros.size()))));
  }
}

namespace {

void require_free(const std::string& path, const struct statvfs& disk, int64_t bytes) {
  const auto available = static_cast<int64_t>(disk.f_bavail) * static_cast<int64_t>(disk.f_frsize);
  if (available < bytes)
    throw world_error(path, "needs " + format_bytes(bytes) + ", and its disk has " + format_bytes(available) + " free",
                      "free some space, or name a place on another disk");
}

}  // namespace

void OutputFile::reserve(int64_t bytes) {
  if (in_place_ || bytes <= 0) return;
  struct statvfs disk {};
  if (::fstatvfs(fd_, &disk) == 0) require_free(path_, disk, bytes);
  int result = 0;
  do result = ::fallocate(fd_, FALLOC_FL_KEEP_SIZE, written_bytes_, bytes);
  while (result != 0 && errno == EINTR);
  if (result != 0 && (errno == ENOSPC || errno == EDQUOT)) fail("cannot be written", errno);
}

// An unnamed file gets the target's name, or, where that is taken, one to be renamed from.
void OutputFile::give_name() {
  const std::string file = std::string(kMyFiles) + "/" + std::to_string(fd_);
  if (::linkat(AT_FDCWD, file.c_str(), AT_FDCWD, path_.c_str(), AT_SYMLINK_FOLLOW) == 0) return;
  if (errno != EEXIST) fail("cannot be put into place", errno);
  const std::string temporary = temporary_name(path_);
  if (::linkat(AT_FDCWD, file.c_str(), AT_FDCWD, temporary.c_str(), AT_SYMLINK_FOLLOW) != 0)
    fail("cannot be put into place", errno);
  temporary_ = temporary;
}

void OutputFile::finish() {
  PLIMSOLL_CHECK(fd_ >= 0, "the file is finished");
  flush();
  if (in_place_) {
    ::close(std::exchange(fd_, -1));
    return;
  }
  if (::fsync(fd_) != 0) fail("cannot be made durable", errno);
  if (temporary_.empty()) give_name();
  if (!temporary_.empty() && ::rename(temporary_.c_str(), path_.c_str()) != 0) fail("cannot be put into place", errno);
  ::close(std::exchange(fd_, -1));
  sync_folder(folder_of(path_));
}

void remove_leftovers(const std::string& folder) {
  std::error_code error;
  for (const std::filesystem::directory_entry& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    const size_t mark = name.rfind(kTemporaryMark);
    if (mark == std::string::npos || mark == 0) continue;
    const std::string numbers = name.substr(mark + kTemporaryMark.size());  // "4711-0"
    if (!numbers.empty() && numbers.find_first_not_of("0123456789-") == std::string::npos)
      std::filesystem::remove(entry.path(), error);
  }
}

void write_file_atomically(const std::string& path, std::string_view text) {
  OutputFile file(path);
  file.write(text);
  file.finish();
}

void sync_folder(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) throw world_error(folder, "cannot be opened", "check that the folder exists", errno);
  const int result = ::fsync(fd);
  const int reason = errno;
  ::close(fd);
  // Some file systems cannot sync a folder; their renames are as durable as they get.
  if (result != 0 && reason != EINVAL && reason != ENOTSUP) {
    throw world_error(folder, "cannot be made durable", "check the disk", reason);
  }
}

void require_free_disk(const std::string& folder, int64_t bytes) {
  std::filesystem::path there = std::filesystem::absolute(folder);
  std::error_code ignored;
  while (!std::filesystem::exists(there, ignored) && there.has_relative_path()) there = there.parent_path();
  struct statvfs disk {};
  if (::statvfs(there.c_str(), &disk) != 0) return;  // writing will say what is wrong
  require_free(folder, disk, bytes);
}

}  // namespace plimsoll
