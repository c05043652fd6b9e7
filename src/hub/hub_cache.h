// The local cache of the hub, in the layout that huggingface_hub reads and writes:
//   models--org--name/refs/REVISION                 the commit that a branch or tag meant when it was fetched
//   models--org--name/blobs/HASH                    contents
//   models--org--name/snapshots/COMMIT/PATH         relative links into blobs/
#pragma once

#include <string>

#include "hub/hub_id.h"
#include "hub/hub_listing.h"

namespace plimsoll {

// `cache`: the folder that hub_cache_folder() names.
std::string cached_repo_folder(const std::string& cache, const HubId& id);

// The folder of the snapshot that `id` means here; empty when the cache does not know its revision.
std::string find_snapshot(const std::string& cache, const HubId& id);

// Whether a snapshot has what `need` asks for. Files that not every repository has are not missed, as long as there is
// a tokenizer.
bool snapshot_has(const std::string& snapshot, const HubId& id, ModelNeed need);

// What can be used without asking the hub: as above, but without a tokenizer, too.
bool snapshot_is_usable(const std::string& snapshot, const HubId& id, ModelNeed need);

// Puts a blob that is there into the snapshot of `commit`. World Errors.
void link_snapshot(const std::string& repo_folder, const std::string& commit, const HubFile& file);

// Notes that `revision` means `commit`; nothing to do for a commit itself.
void write_reference(const std::string& repo_folder, const std::string& revision, const std::string& commit);

}  // namespace plimsoll
