#include "cli/predict/used_price.h"

#include <fmt/format.h>

namespace plimsoll::cli {

UsedPrice used_price(const Catalog& catalog, const std::string& device, PriceKind kind, double given) {
  if (given > 0) return {given, "--price"};
  const DevicePrice* found = cheapest(catalog, device, kind);
  if (found == nullptr) return {};
  return {found->usd, fmt::format("{}, {}", found->provider, found->date)};
}

std::string used_price_text(const UsedPrice& price) {
  return price.usd > 0 ? fmt::format("USD by {:.2f} an hour of a device ({})\n", price.usd, price.source) : "";
}

}  // namespace plimsoll::cli
