#include "quantize/staged_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string_view>

#include "base/error.h"
#include "formats/output_file.h"

namespace plimsoll {
namespace {

namespace fs = std::filesystem;

// Without a slash at its end, so that a name can be put beside it.
std::string without_slash(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

constexpr std::string_view kMark = ".partial-";

// A descriptor that holds the folder's lock; -1 where somebody else does, or it cannot be opened.
int lock_folder(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0 || ::flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
  ::close(fd);
  return -1;
}

// Folders of this prefix whose writers are gone.
void remove_abandoned(const fs::path& parent, const std::string& prefix) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(parent.empty() ? "." : parent, error)) {
    const std::string name = entry.path().filename().string();
    if (name.size() == prefix.size() || !name.starts_with(prefix) ||
        name.find_first_not_of("0123456789", prefix.size()) != std::string::npos)
      continue;
    const int lock = lock_folder(entry.path().string());
    if (lock < 0) continue;
    fs::remove_all(entry.path(), error);
    ::close(lock);
  }
}

}  // namespace

void require_absent(const std::string& target) {
  std::error_code error;
  if (target.empty()) throw caller_error("--out", "is empty", "give a .gguf file or a folder");
  if (!fs::exists(fs::symlink_status(target, error)) ||
      (fs::is_directory(target, error) && fs::is_empty(target, error)))
    return;
  throw caller_error("--out", "'" + target + "' is there already", "give another name, or remove it first");
}

StagedFolder::StagedFolder(std::string target) : target_(without_slash(std::move(target))) {
  require_absent(target_);
  const fs::path place(target_);
  const std::string prefix = "." + place.filename().string() + std::string(kMark);
  remove_abandoned(place.parent_path(), prefix);
  path_ = (place.parent_path() / (prefix + std::to_string(::getpid()))).string();
  std::error_code error;
  fs::create_directories(path_, error);
  if (error) throw world_error(path_, "cannot be made", "check the folder and its permissions", error.value());
  lock_ = lock_folder(path_);
  signal_.emplace(path_);
}

StagedFolder::~StagedFolder() {
  std::error_code error;
  if (!finished_) fs::remove_all(path_, error);
  if (lock_ >= 0) ::close(lock_);
}

void StagedFolder::finish() {
  sync_folder(path_);
  std::error_code error;
  fs::rename(path_, target_, error);
  if (error) throw world_error(target_, "cannot be put in place", "check that nobody else writes there", error.value());
  finished_ = true;
  const std::string parent = fs::path(target_).parent_path().string();
  sync_folder(parent.empty() ? "." : parent);
}

}  // namespace plimsoll
