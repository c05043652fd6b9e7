// Where a command puts its result.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace plimsoll::cli {

// A finished result is never written over: a caller Error where `out` is a file, or a folder in which one of `files`,
// which make it a result, lies. Devices and pipes may be written to.
void require_no_result(const std::string& out, const std::vector<std::string_view>& files = {});

}  // namespace plimsoll::cli
