// What the hub says a repository holds, and which of it we need. Everything here comes from another machine: names are
// checked before they become paths, hashes before they become file names, counts and sizes have limits.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hub/hub_id.h"

namespace plimsoll {

struct HubFile {
  std::string path;  // inside the repository
  int64_t size = 0;
  std::string hash;        // lower-case hexadecimal; also the name of its blob in the cache
  bool is_sha256 = false;  // of the content (LFS); else git's sha1 of the blob
};

struct HubListing {
  std::string commit;          // 40 hexadecimal digits
  std::vector<HubFile> files;  // only those with a safe name

  const HubFile* find(std::string_view path) const;  // nullptr when absent
};

// The answer of GET /api/models/{repo}/revision/{revision}?blobs=true. `source` names it in errors; all are world
// Errors.
HubListing parse_hub_listing(std::string_view json, const std::string& source);

// The files of the repository that `need` asks for, without the weights; in `id.file`'s case that file alone. A caller
// Error when the repository holds no model that we read, with what it holds instead.
std::vector<HubFile> choose_files(const HubListing& listing, const HubId& id, ModelNeed need);

// The weights: those that the index names (`index_json`, empty when the repository has none), else model.safetensors,
// else every *.safetensors of the top folder. A caller Error when there are none or the index names absent ones.
std::vector<HubFile> choose_weights(const HubListing& listing, const HubId& id, std::string_view index_json);

// The distinct files of a *.safetensors.index.json, sorted. Reads any size without building it up in memory. A caller
// Error for text that is no index, or for names that are no safe paths.
std::vector<std::string> index_files(std::string_view json, const std::string& source);

// Whether a file of a model's top folder holds weights of the model: *.safetensors, but no adapter and no copy in the
// layout of the first release.
bool is_weights_file(std::string_view name);

inline constexpr const char* kIndexFile = "model.safetensors.index.json";

}  // namespace plimsoll
