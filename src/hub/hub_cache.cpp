#include "hub/hub_cache.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>

#include "base/error.h"
#include "formats/output_file.h"
#include "formats/text_file.h"

namespace plimsoll {
namespace {

namespace fs = std::filesystem;

bool has_weights(const std::string& snapshot) {
  if (const std::string index = snapshot + "/" + kIndexFile; file_exists(index)) {
    const std::vector<std::string> files = index_files(read_text_file(index), index);
    return std::all_of(files.begin(), files.end(),
                       [&](const std::string& f) { return file_exists(snapshot + "/" + f); });
  }
  std::error_code error;
  for (fs::directory_iterator at(snapshot, error), end; !error && at != end; at.increment(error))
    if (is_weights_file(at->path().filename().string()) && file_exists(at->path().string())) return true;
  return false;
}

bool has_tokenizer(const std::string& snapshot) {
  const std::array<const char*, 3> names = {"/tokenizer.json", "/tokenizer.model", "/spiece.model"};
  return std::any_of(names.begin(), names.end(), [&](const char* name) { return file_exists(snapshot + name); });
}

}  // namespace

std::string cached_repo_folder(const std::string& cache, const HubId& id) {
  return cache + "/models--" + std::string(id.repo).replace(id.repo.find('/'), 1, "--");
}

std::string find_snapshot(const std::string& cache, const HubId& id) {
  const std::string folder = cached_repo_folder(cache, id);
  std::string commit = id.revision;
  if (const std::string reference = folder + "/refs/" + id.revision; file_exists(reference)) {
    commit = read_text_file(reference, 1024);
    while (!commit.empty() && (commit.back() == '\n' || commit.back() == ' ')) commit.pop_back();
  }
  if (!is_commit(commit)) return "";
  const std::string snapshot = folder + "/snapshots/" + commit;
  return folder_exists(snapshot) ? snapshot : "";
}

bool snapshot_is_usable(const std::string& snapshot, const HubId& id, ModelNeed need) {
  if (!id.file.empty()) return file_exists(snapshot + "/" + id.file);
  if (!file_exists(snapshot + "/config.json")) return false;
  return need != ModelNeed::weights || has_weights(snapshot);
}

bool snapshot_has(const std::string& snapshot, const HubId& id, ModelNeed need) {
  if (!snapshot_is_usable(snapshot, id, need)) return false;
  return !id.file.empty() || need == ModelNeed::config || has_tokenizer(snapshot);
}

void link_snapshot(const std::string& repo_folder, const std::string& commit, const HubFile& file) {
  const std::string link = repo_folder + "/snapshots/" + commit + "/" + file.path;
  const fs::path parent = fs::path(link).parent_path();
  fs::create_directories(parent);
  std::string target = "../../blobs/" + file.hash;
  for (const char c : file.path)
    if (c == '/') target.insert(0, "../");
  // Beside it and renamed, so that nobody finds the place empty.
  const std::string temporary = link + "." + std::to_string(::getpid()) + ".link";
  ::unlink(temporary.c_str());
  if (::symlink(target.c_str(), temporary.c_str()) != 0)
    throw world_error(link, "cannot be made as a link", "check the folder; HF_HUB_CACHE names another", errno);
  if (::rename(temporary.c_str(), link.c_str()) != 0) {
    const int reason = errno;
    ::unlink(temporary.c_str());
    throw world_error(link, "cannot be made as a link", "check the folder; HF_HUB_CACHE names another", reason);
  }
  sync_folder(parent.string());
}

void write_reference(const std::string& repo_folder, const std::string& revision, const std::string& commit) {
  if (revision == commit) return;
  const std::string path = repo_folder + "/refs/" + revision;
  fs::create_directories(fs::path(path).parent_path());
  write_file_atomically(path, commit);
}

}  // namespace plimsoll
