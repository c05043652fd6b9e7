#include "cli/arguments/result_target.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "formats/text_file.h"

namespace plimsoll::cli {

void require_no_result(const std::string& out, const std::vector<std::string_view>& files) {
  constexpr const char* kWayOut = "give another name, or remove it first";
  if (out.empty()) throw caller_error("--out", "is empty", "give the name of a file or folder");
  if (file_exists(out)) throw caller_error("--out", fmt::format("'{}' is there already", one_line(out, 200)), kWayOut);
  for (const std::string_view file : files)
    if (file_exists(fmt::format("{}/{}", out, file)))
      throw caller_error("--out", fmt::format("'{}' has a {} already", one_line(out, 200), file), kWayOut);
}

}  // namespace plimsoll::cli
