#include "cli/small_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/bytes.h"
#include "base/error.h"

namespace plimsoll::cli {
namespace {

struct Descriptor {
  int value;
  ~Descriptor() {
    if (value > 2) ::close(value);
  }
};

bool write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

}  // namespace

void write_file(const std::string& path, std::string_view text) {
  const std::string beside = fmt::format("{}.{}.partial", path, ::getpid());
  const auto fail = [&](const char* what) { return world_error(path, what, "check that the folder is there, may be written to, and has room", errno); };
  Descriptor file{::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)};
  if (file.value < 0) throw fail("cannot be created");
  if (!write_all(file.value, text) || ::fsync(file.value) != 0 || ::rename(beside.c_str(), path.c_str()) != 0) {
    const int reason = errno;
    ::unlink(beside.c_str());
    errno = reason;
    throw fail("cannot be written");
  }
}

std::string read_file(const std::string& path, int64_t limit_bytes) {
  Descriptor file{path == "-" ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.value < 0) {
    if (errno == ENOENT || errno == ENOTDIR) throw caller_error(path, "there is no such file", "check the path");
    throw world_error(path, "cannot be opened", "check who may read it", errno);
  }
  struct stat status {};
  if (::fstat(file.value, &status) == 0 && S_ISDIR(status.st_mode)) throw caller_error(path, "is a folder", "give a file");
  std::string text;
  char piece[1 << 16];
  while (true) {
    const ssize_t count = ::read(file.value, piece, sizeof(piece));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw world_error(path, "cannot be read", "check the disk", errno);
    if (count == 0) return text;
    text.append(piece, static_cast<size_t>(count));
    if (static_cast<int64_t>(text.size()) > limit_bytes)
      throw caller_error(path, fmt::format("is larger than {}", format_bytes(limit_bytes)), "give a smaller file");
  }
}

}  // namespace plimsoll::cli
