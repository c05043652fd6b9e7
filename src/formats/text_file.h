// Small files as a whole: configs, indices, templates.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.h"

namespace plimsoll {

inline constexpr int64_t kMaxTextFileBytes = 64 * kMiB;

// Throws a caller Error when the file is missing or longer than `limit_bytes`, a world Error when it cannot be read.
std::string read_text_file(const std::string& path, int64_t limit_bytes = kMaxTextFileBytes);

bool file_exists(const std::string& path);  // a regular file, or a link to one
bool folder_exists(const std::string& path);

}  // namespace plimsoll
