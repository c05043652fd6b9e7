#include "hub/transport/partial_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/bytes.h"
#include "base/error.h"
#include "formats/output_file.h"
#include "hub/transport/digest.h"

namespace plimsoll {
namespace {

// Behind the file's own bytes: this, then the done bytes of each piece (i64).
struct Header {
  std::array<char, 8> magic;
  int64_t piece_bytes;
};
constexpr std::array<char, 8> kMagic = {'P', 'L', 'M', 'P', 'A', 'R', 'T', '1'};

Error cannot_write(const std::string& path, int reason) {
  return world_error(path, "cannot be written", "check the disk; HF_HUB_CACHE names another folder", reason);
}

bool read_at(int fd, int64_t offset, void* out, size_t count) {
  auto* bytes = static_cast<char*>(out);
  while (count > 0) {
    const ssize_t got = ::pread(fd, bytes, count, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    bytes += got;
    offset += got;
    count -= static_cast<size_t>(got);
  }
  return true;
}

}  // namespace

PartialFile::PartialFile(std::string path, const HubFile& file, int64_t piece_bytes)
    : path_(std::move(path)), file_(file), fd_(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644)) {
  if (fd_ < 0) throw cannot_write(path_, errno);
  try {
    const bool begun = load(piece_bytes);
    struct statvfs disk {};
    if (::fstatvfs(fd_, &disk) == 0) {
      const double room = static_cast<double>(disk.f_bavail) * static_cast<double>(disk.f_frsize);
      const int64_t missing = file_.size - (begun ? done_bytes() : 0);
      if (static_cast<double>(missing) > room)
        throw world_error(file_.path,
                          fmt::format("needs {} more on the disk, which has {}", format_bytes(missing),
                                      format_bytes(static_cast<int64_t>(room))),
                          "make room there; HF_HUB_CACHE names another folder");
    }
    if (!begun) restart(piece_bytes);
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

PartialFile::~PartialFile() { ::close(fd_); }

void PartialFile::cut(int64_t piece_bytes) {
  pieces_.clear();
  done_bytes_ = 0;
  for (int64_t begin = 0; begin < file_.size; begin += piece_bytes)
    pieces_.push_back({begin, std::min(begin + piece_bytes, file_.size), 0});
}

bool PartialFile::load(int64_t piece_bytes) {
  cut(piece_bytes);
  Header header{};
  struct stat status {};
  const auto length = static_cast<int64_t>(sizeof(Header) + sizeof(int64_t) * pieces_.size());
  if (::fstat(fd_, &status) != 0 || status.st_size != file_.size + length) return false;
  if (!read_at(fd_, file_.size, &header, sizeof(header))) return false;
  if (header.magic != kMagic || header.piece_bytes != piece_bytes) return false;
  std::vector<int64_t> done(pieces_.size());
  if (!read_at(fd_, file_.size + static_cast<int64_t>(sizeof(header)), done.data(), done.size() * sizeof(int64_t)))
    return false;
  for (size_t i = 0; i < done.size(); ++i) {
    if (done[i] < 0 || done[i] > pieces_[i].end - pieces_[i].begin) return false;
    pieces_[i].done = done[i];
    done_bytes_ += done[i];
  }
  return true;
}

void PartialFile::restart(int64_t piece_bytes) {
  cut(piece_bytes);
  if (::ftruncate(fd_, 0) != 0) throw cannot_write(path_, errno);
  const Header header{kMagic, piece_bytes};
  write_at(file_.size, {reinterpret_cast<const char*>(&header), sizeof(header)});
  const std::vector<int64_t> done(pieces_.size(), 0);
  write_at(file_.size + static_cast<int64_t>(sizeof(header)),
           {reinterpret_cast<const char*>(done.data()), done.size() * sizeof(int64_t)});
}

void PartialFile::write_at(int64_t offset, std::string_view bytes) const {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(fd_, bytes.data(), bytes.size(), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) throw cannot_write(path_, errno);
    bytes.remove_prefix(static_cast<size_t>(count));
    offset += count;
  }
}

void PartialFile::append(size_t index, std::string_view bytes) {
  FilePiece& piece = pieces_[index];
  const int64_t at = piece.begin + piece.done;
  PLIMSOLL_CHECK(static_cast<int64_t>(bytes.size()) <= piece.end - at, "a piece overflows");
  write_at(at, bytes);
  piece.done += static_cast<int64_t>(bytes.size());
  done_bytes_ += static_cast<int64_t>(bytes.size());
  write_at(file_.size + static_cast<int64_t>(sizeof(Header) + sizeof(int64_t) * index),
           {reinterpret_cast<const char*>(&piece.done), sizeof(piece.done)});
}

void PartialFile::finish(const std::string& target) {
  PLIMSOLL_CHECK(done_bytes() == file_.size, "an incomplete file cannot be finished");
  Digest digest(file_.is_sha256, file_.size);
  std::vector<char> buffer(static_cast<size_t>(kMiB));
  for (int64_t offset = 0; offset < file_.size;) {
    const auto count = static_cast<size_t>(std::min<int64_t>(kMiB, file_.size - offset));
    if (!read_at(fd_, offset, buffer.data(), count))
      throw world_error(path_, "cannot be read back", "check the disk", errno);
    digest.add({buffer.data(), count});
    offset += static_cast<int64_t>(count);
  }
  if (const std::string hash = digest.hexadecimal(); hash != file_.hash) {
    ::unlink(path_.c_str());
    throw world_error(
        file_.path,
        fmt::format("arrived damaged: its {} is {}…, the hub says {}…", file_.is_sha256 ? "SHA-256" : "git hash",
                    hash.substr(0, 12), file_.hash.substr(0, 12)),
        "run again to fetch it anew; if that does not help, something on the way changes it");
  }
  if (::ftruncate(fd_, file_.size) != 0 || ::fsync(fd_) != 0) throw cannot_write(path_, errno);
  if (::rename(path_.c_str(), target.c_str()) != 0) throw cannot_write(target, errno);
  sync_folder(std::filesystem::path(target).parent_path().string());
}

}  // namespace plimsoll
