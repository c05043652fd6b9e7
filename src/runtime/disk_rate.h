// How fast a disk gives back what was written to it, by direct reads as streaming makes them.
#pragma once

#include <optional>
#include <string>

namespace plimsoll {

// Bytes a second of the disk under `folder`: writes 64 MiB to a file without a name and reads it, which takes some
// tenths of a second; kept for a week for each device (config/user_cache.h). nullopt where nothing can be written.
std::optional<double> disk_read_rate(const std::string& folder);

}  // namespace plimsoll
