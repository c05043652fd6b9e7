// The tables of catalog/ (*.csv), embedded into the program.
#pragma once

#include <cstddef>
#include <string_view>

namespace plimsoll {

struct CatalogText {
  std::string_view name;  // "devices.csv"
  std::string_view text;
};

namespace detail {
extern const CatalogText kCatalogTexts[];  // the generated table
extern const size_t kCatalogTextCount;
}  // namespace detail

std::string_view catalog_text(std::string_view name);  // a missing one is our bug

}  // namespace plimsoll
