#include "hub/model_source.h"

#include <fmt/format.h>

#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "config/model_catalog.h"
#include "hub/fetch_process.h"
#include "hub/hub_cache.h"
#include "hub/hub_environment.h"

namespace plimsoll {
namespace {

bool is_path(const std::string& model) {
  std::error_code ignored;
  return std::filesystem::exists(model, ignored);
}

bool looks_like_path(const std::string& model) {
  const bool names_file = model.ends_with(".gguf") || model.ends_with(".json") || model.ends_with(".safetensors");
  return model.front() == '/' || model.front() == '.' || (names_file && model.find(':') == std::string::npos);
}

std::string find_on_hub(const HubId& id, ModelNeed need) {
  const std::string cache = hub_cache_folder();
  const std::string snapshot = find_snapshot(cache, id);
  const bool offline = hub_is_offline();
  const bool enough =
      !snapshot.empty() && (offline ? snapshot_is_usable(snapshot, id, need) : snapshot_has(snapshot, id, need));
  if (enough) return snapshot;
  if (offline)
    throw caller_error(id.text(),
                       fmt::format("is no file here and {} in the cache {}, and nothing is fetched when offline",
                                   snapshot.empty() ? "not" : "not whole", cache),
                       "run it once without --offline and HF_HUB_OFFLINE");
  return run_fetch_process(id, need);
}

Error unknown_model(const std::string& model) {
  std::string near;
  for (const std::string_view name : near_catalog_names(model, 5))
    near += (near.empty() ? "" : ", ") + std::string(name);
  return caller_error(one_line(model, 100), "is no file, no folder, no name of the catalogue and no hub id org/name",
                      near.empty() ? "give a path or org/name; plimsoll inspect --list shows the catalogue"
                                   : fmt::format("did you mean {}?", near));
}

}  // namespace

std::string find_model_path(const std::string& model, ModelNeed need) {
  if (model.empty())
    throw caller_error("model", "is not given", "give a Hugging Face folder, a .gguf file, a config.json or org/name");
  if (is_path(model)) return model;
  if (looks_like_path(model)) throw caller_error(model, "does not exist", "check the path");
  if (const CatalogModel* known = find_catalog_model(model))
    throw caller_error(std::string(known->name), "is a name of the catalogue, which has configurations but no files",
                       "give a folder, a .gguf file or org/name; plan and inspect take the name");
  const std::optional<HubId> id = parse_hub_id(model);
  if (!id) throw unknown_model(model);
  const std::string folder = find_on_hub(*id, need);
  return id->file.empty() ? folder : folder + "/" + id->file;
}

ModelFiles open_model_source(const std::string& model, ModelNeed need) {
  const CatalogModel* known = model.empty() || is_path(model) ? nullptr : find_catalog_model(model);
  if (known != nullptr && need != ModelNeed::weights) {
    ModelFiles files;
    files.path = known->name;
    files.config = parse_hf_config(known->config, known->name);
    return files;
  }
  const std::string path = find_model_path(model, need);
  // A snapshot that was fetched for planning has an index and no shards.
  if (need != ModelNeed::weights && path != model && std::filesystem::is_directory(path)) {
    const std::optional<HubId> id = parse_hub_id(model);
    if (id && !snapshot_is_usable(path, *id, ModelNeed::weights)) return open_model(path + "/config.json");
  }
  return open_model(path);
}

}  // namespace plimsoll
