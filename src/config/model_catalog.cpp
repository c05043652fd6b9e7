#include "config/model_catalog.h"

#include <algorithm>
#include <cctype>
#include <compare>
#include <utility>

#include "base/text.h"

namespace plimsoll {
namespace {

constexpr size_t kLongestName = 64;

bool is_letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }
bool is_digit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }

// What two spellings of one name have in common.
std::string plain_name(std::string_view name) {
  std::string plain;
  for (size_t i = 0; i < name.size(); ++i) {
    const char c = name[i] == '_' ? '-' : name[i];
    const bool joins = c == '-' && i > 0 && i + 1 < name.size() && is_letter(name[i - 1]) && is_digit(name[i + 1]);
    if (!joins) plain += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return plain;
}

// Edits from `name` to what `candidate` begins with, as long as `name` or one letter more or less; and the whole of it.
struct Distance {
  size_t beginning, whole;
  auto operator<=>(const Distance&) const = default;
};

Distance distance(std::string_view name, std::string_view candidate) {
  size_t best = name.size();
  for (size_t length = name.size() - 1; length <= name.size() + 1; ++length)
    best = std::min(best, edit_distance(name, candidate.substr(0, length)));
  return {best, edit_distance(name, candidate)};
}

}  // namespace

std::span<const CatalogModel> catalog_models() { return {detail::kCatalogModels, detail::kCatalogModelCount}; }

const CatalogModel* find_catalog_model(std::string_view name) {
  if (name.size() > kLongestName) return nullptr;
  const std::string wanted = plain_name(name);
  for (const CatalogModel& model : catalog_models())
    if (plain_name(model.name) == wanted) return &model;
  return nullptr;
}

std::vector<std::string_view> near_catalog_names(std::string_view name, size_t limit) {
  if (name.empty() || name.size() > kLongestName) return {};
  const std::string wanted = plain_name(name);
  std::vector<std::pair<Distance, std::string_view>> near;
  for (const CatalogModel& model : catalog_models()) {
    const Distance far = distance(wanted, plain_name(model.name));
    if (far.beginning <= std::max<size_t>(1, wanted.size() / 4)) near.emplace_back(far, model.name);
  }
  std::stable_sort(near.begin(), near.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  if (near.size() > limit) near.resize(limit);
  std::vector<std::string_view> names;
  for (const auto& [far, found] : near) names.push_back(found);
  return names;
}

}  // namespace plimsoll
