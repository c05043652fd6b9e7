#include "cli/input/input_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "base/bytes.h"
#include "base/error.h"
#include "base/regular_file.h"

namespace plimsoll::cli {
namespace {

constexpr size_t kPiece = 64 << 10;

int open_input(const std::string& path) {
  if (path != "-") require_regular_file(path, "give a file, or - to read standard input");
  const int descriptor = path == "-" ? ::dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    if (errno == ENOENT || errno == ENOTDIR) throw caller_error(path, "there is no such file", "check the path");
    throw world_error(path, "cannot be opened", "check who may read it", errno);
  }
  return descriptor;
}

// Appends what there is, up to kPiece bytes; false at the end.
bool read_piece(int descriptor, const std::string& path, std::string& text) {
  const size_t size = text.size();
  text.resize(size + kPiece);
  while (true) {
    const ssize_t count = ::read(descriptor, text.data() + size, kPiece);
    if (count < 0 && errno == EINTR) continue;
    text.resize(size + static_cast<size_t>(count > 0 ? count : 0));
    if (count < 0) throw world_error(path, "cannot be read", "check the disk", errno);
    return count > 0;
  }
}

}  // namespace

std::string read_input(const std::string& path, int64_t limit_bytes) {
  struct Closed {
    int descriptor;
    ~Closed() { ::close(descriptor); }
  } file{open_input(path)};
  std::string text;
  while (read_piece(file.descriptor, path, text))
    if (static_cast<int64_t>(text.size()) > limit_bytes)
      throw caller_error(path, fmt::format("is larger than {}", format_bytes(limit_bytes)), "give a smaller file");
  return text;
}

LineReader::LineReader(const std::string& path) : path_(path), descriptor_(open_input(path)) {}
LineReader::~LineReader() { ::close(descriptor_); }

bool LineReader::next(std::string& line) {
  size_t searched = begin_;
  while (true) {
    const size_t end = ahead_.find('\n', searched);
    if (end != std::string::npos || (at_end_ && begin_ < ahead_.size())) {
      line.assign(ahead_, begin_, end == std::string::npos ? end : end - begin_);
      begin_ = end == std::string::npos ? ahead_.size() : end + 1;
      ++line_number_;
      return true;
    }
    if (at_end_) return false;
    ahead_.erase(0, begin_);
    begin_ = 0;
    searched = ahead_.size();
    if (static_cast<int64_t>(ahead_.size()) > kMaxLineBytes)
      throw caller_error(fmt::format("{} line {}", path_, line_number_ + 1),
                         fmt::format("is longer than {}", format_bytes(kMaxLineBytes)), "write one object a line");
    at_end_ = !read_piece(descriptor_, path_, ahead_);
  }
}

}  // namespace plimsoll::cli
