// A model from the hub into the local cache, as much of it as a command needs.
#pragma once

#include <string>

#include "hub/hub_id.h"
#include "hub/transport/download.h"

namespace plimsoll {

// What the environment says: HF_ENDPOINT, HF_TOKEN. Throws a caller Error for an endpoint that is no address.
DownloadOptions download_options_from_environment();

// Fetches what is missing and gives the snapshot's folder. The links and the reference are made when every file is
// there and checked, so a snapshot is never half there. Errors as Downloader's, and a caller Error
// for a repository without a model.
std::string fetch_model(const HubId& id, ModelNeed need, const std::string& cache, const DownloadOptions& options);

}  // namespace plimsoll
