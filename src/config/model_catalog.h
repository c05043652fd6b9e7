// The catalogue: published models by name, each the config.json of catalog/models/NAME.json, embedded into the program.
// Enough to count and to plan; there are no weights.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace plimsoll {

struct CatalogModel {
  std::string_view name;    // "llama-3.1-405b"
  std::string_view config;  // config.json, for parse_hf_config
};

namespace detail {
extern const CatalogModel kCatalogModels[];  // the generated table
extern const size_t kCatalogModelCount;
}  // namespace detail

std::span<const CatalogModel> catalog_models();  // by name

// nullptr when there is none. Case, `_` for `-`, and a dash between a letter and a digit count for nothing: gpt-3-175b
// is gpt3-175b, Llama3-8B is llama-3-8b.
const CatalogModel* find_catalog_model(std::string_view name);

// Names like `name`, nearest first, at most `limit`; empty where nothing is near.
std::vector<std::string_view> near_catalog_names(std::string_view name, size_t limit);

}  // namespace plimsoll
