#include "train/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "base/error.h"
#include "config/recipe_fields.h"

namespace plimsoll {

RunFolderLock::RunFolderLock(const std::string& folder) {
  // The folder itself is locked: nothing is left behind, and the lock goes with the process.
  fd_ = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd_ < 0) throw world_error(folder, "cannot be opened", "check the path and its permissions", errno);
  if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) return;
  const int reason = errno;
  ::close(fd_);
  if (reason == EWOULDBLOCK)
    throw caller_error(folder, "another run is writing here", "wait for it, or give another --out");
  fd_ = -1;  // a file system without locks
}

RunFolderLock::~RunFolderLock() {
  if (fd_ >= 0) ::close(fd_);
}

void require_same_run(const Recipe& begun, const Recipe& recipe) {
  constexpr std::array<std::string_view, 8> kMayChange = {"steps",     "epochs",     "threads",    "memory",
                                                          "eval-data", "save-every", "eval-every", "recompute"};
  for (const RecipeField& field : recipe_fields()) {
    if (std::find(kMayChange.begin(), kMayChange.end(), field.name) != kMayChange.end()) continue;
    const std::string before = field_text(field, field.get(begun));
    const std::string now = field_text(field, field.get(recipe));
    if (before == now) continue;
    const auto shown = [](const std::string& text) { return text.empty() ? std::string("not set") : text; };
    throw caller_error("--" + std::string(field.name), "is " + shown(now) + ", the run was begun with " + shown(before),
                       "leave the flag out to go on with the run's own recipe, or begin another in a new --out");
  }
}

}  // namespace plimsoll
