#include "cli/predict/device_range.h"

#include "base/error.h"
#include "base/text.h"

namespace plimsoll::cli {

DeviceRange parse_device_range(const std::string& text, const Catalog& catalog) {
  DeviceRange range;
  const size_t colon = text.find(':');
  range.device = &require_device(catalog, text.substr(0, colon), "--devices");
  if (colon == std::string::npos) return range;
  const std::string counts = text.substr(colon + 1);
  const size_t dots = counts.find("..");
  const auto least = parse_integer(counts.substr(0, dots));
  const auto most = dots == std::string::npos ? least : parse_integer(counts.substr(dots + 2));
  if (!least || !most)
    throw caller_error("--devices " + one_line(text, 60), "is no range of counts", "for example h100-80g:1..64");
  range.least = *least;
  range.most = *most;
  return range;
}

}  // namespace plimsoll::cli
