#include "hub/transport/blob_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/error.h"
#include "base/log.h"

namespace plimsoll {

BlobLock::BlobLock(const std::string& repo_folder, const std::string& hash, const std::string& path) {
  const std::filesystem::path repo(repo_folder);
  const std::filesystem::path folder = repo.parent_path() / ".locks" / repo.filename();
  std::filesystem::create_directories(folder);
  const std::string lock = (folder / (hash + ".lock")).string();
  fd_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ < 0) throw world_error(lock, "cannot be written", "check the folder; HF_HUB_CACHE names another", errno);
  if (::flock(fd_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  log_note(path + ": another process is fetching it; waiting");
  while (::flock(fd_, LOCK_EX) != 0 && errno == EINTR) {
  }
}

BlobLock::~BlobLock() { ::close(fd_); }

}  // namespace plimsoll
