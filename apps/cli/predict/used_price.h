// The price of a device that a command counts with, and where it comes from.
#pragma once

#include <string>

#include "cost/device_catalog.h"

namespace plimsoll::cli {

struct UsedPrice {
  double usd = 0;      // of one device an hour; 0: not known
  std::string source;  // "--price", or provider and date
};

// `given` by --price; 0: the catalogue's.
UsedPrice used_price(const Catalog& catalog, const std::string& device, PriceKind kind, double given);

// A line for people; empty where no price is known.
std::string used_price_text(const UsedPrice& price);

}  // namespace plimsoll::cli
