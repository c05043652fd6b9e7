// What a user names as MODEL, wherever it is: a path, a name in the catalogue, or an id of the hub, which is looked for
// in the local cache and then fetched.
#pragma once

#include <string>

#include "formats/model_files.h"
#include "hub/hub_id.h"

namespace plimsoll {

// Opens and checks; reads no weights. A name of the catalogue has a config only. Throws the Errors of open_model and of
// fetching, and a caller Error for what is none of the three, with names that are near.
ModelFiles open_model_source(const std::string& model, ModelNeed need);

// The path of a model that is on this disk or on the hub; it may have no config.json of its own. Throws a caller Error
// for a name of the catalogue, which has no files.
std::string find_model_path(const std::string& model, ModelNeed need);

}  // namespace plimsoll
