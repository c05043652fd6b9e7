// A small file, whole or not at all.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace plimsoll::cli {

// Writes beside `path`, fsyncs, renames. Throws a world Error and leaves nothing behind.
void write_file(const std::string& path, std::string_view text);

// The whole file; "-" is stdin. Missing or a folder: a caller Error; unreadable: a world Error; over `limit_bytes`: a
// caller Error.
std::string read_file(const std::string& path, int64_t limit_bytes);

}  // namespace plimsoll::cli
