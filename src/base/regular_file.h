// Files that are read whole: a pipe could wait for ever, a device never end.
#pragma once

#include <string>

namespace plimsoll {

// Throws a caller Error where `path` is there and is no regular file (a link to one is), with `way_out`; what is not
// there is left to whoever opens it.
void require_regular_file(const std::string& path, const std::string& way_out = "give the path of a file");

}  // namespace plimsoll
