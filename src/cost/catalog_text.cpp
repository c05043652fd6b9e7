#include "cost/catalog_text.h"

#include <string>

#include "base/error.h"

namespace plimsoll {

std::string_view catalog_text(std::string_view name) {
  for (size_t i = 0; i < detail::kCatalogTextCount; ++i)
    if (detail::kCatalogTexts[i].name == name) return detail::kCatalogTexts[i].text;
  PLIMSOLL_CHECK(false, "no table of the catalogue is named " + std::string(name));
}

}  // namespace plimsoll
