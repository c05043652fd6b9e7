#include "hub/transport/fetch.h"

#include <fmt/format.h>

#include <filesystem>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "formats/output_file.h"
#include "formats/text_file.h"
#include "hub/hub_cache.h"
#include "hub/hub_environment.h"

namespace plimsoll {
namespace {

constexpr int64_t kMostListing = 32 * kMiB;

// Backup programs leave folders alone that hold this file (https://bford.info/cachedir/).
void mark_as_cache(const std::string& cache) {
  const std::string tag = cache + "/CACHEDIR.TAG";
  if (!file_exists(tag))
    write_file_atomically(
        tag, "Signature: 8a477f597d28d172789f06886806bc55\n# Models from the hub. They can be fetched again.\n");
}

}  // namespace

DownloadOptions download_options_from_environment() {
  DownloadOptions options;
  const std::string endpoint = hub_endpoint();
  const std::optional<Url> url = parse_url(endpoint);
  if (!url)
    throw caller_error("HF_ENDPOINT", fmt::format("'{}' is no http or https address", one_line(endpoint, 100)),
                       "write it like https://huggingface.co");
  options.http.endpoint = *url;
  options.http.token = hub_token();
  return options;
}

std::string fetch_model(const HubId& id, ModelNeed need, const std::string& cache, const DownloadOptions& options) {
  Downloader downloader(options);
  const Url& endpoint = options.http.endpoint;
  const Url address{endpoint.origin,
                    fmt::format("{}/api/models/{}/revision/{}?blobs=true", endpoint.path == "/" ? "" : endpoint.path,
                                id.repo, escape_path(id.revision, false))};
  const HubListing listing = parse_hub_listing(downloader.get_text(address, id, kMostListing), endpoint.host());
  if (is_commit(id.revision) && listing.commit != id.revision)
    throw world_error(id.text(), fmt::format("{} gives commit {} instead", endpoint.host(), listing.commit),
                      "is this a hub? HF_ENDPOINT says which is asked");

  const std::string folder = cached_repo_folder(cache, id);
  std::filesystem::create_directories(folder);
  mark_as_cache(cache);
  std::vector<HubFile> files = choose_files(listing, id, need);
  for (const HubFile& file : files) downloader.download(file, id, listing.commit, folder);
  if (need == ModelNeed::weights && id.file.empty()) {
    std::string index;
    for (const HubFile& file : files)
      if (file.path == kIndexFile) index = read_text_file(folder + "/blobs/" + file.hash);
    for (const HubFile& file : choose_weights(listing, id, index)) {
      downloader.download(file, id, listing.commit, folder);
      files.push_back(file);
    }
  }
  for (const HubFile& file : files) link_snapshot(folder, listing.commit, file);
  write_reference(folder, id.revision, listing.commit);
  return folder + "/snapshots/" + listing.commit;
}

}  // namespace plimsoll
