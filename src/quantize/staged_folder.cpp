#include "quantize/staged_folder.h"

#include <unistd.h>

#include <cerrno>
#include <filesystem>

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
  path_ = (place.parent_path() / ("." + place.filename().string() + ".partial-" + std::to_string(::getpid()))).string();
  std::error_code error;
  fs::create_directories(path_, error);
  if (error) throw world_error(path_, "cannot be made", "check the folder and its permissions", error.value());
}

StagedFolder::~StagedFolder() {
  std::error_code error;
  if (!finished_) fs::remove_all(path_, error);
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
