// "h100-80g:1..64", "h100-80g:8", "h100-80g": a device of the catalogue and how many of it.
#pragma once

#include <string>

#include "cost/device_catalog.h"

namespace plimsoll::cli {

struct DeviceRange {
  const Device* device = nullptr;
  int64_t least = 1, most = 64;
};

// Throws a caller Error for a device that is unknown or a range that is none.
DeviceRange parse_device_range(const std::string& text, const Catalog& catalog);

}  // namespace plimsoll::cli
