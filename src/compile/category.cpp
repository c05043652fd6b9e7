#include "compile/category.h"

#include <numeric>

namespace plimsoll {
namespace {

struct CategoryNames {
  Category category;
  const char *name, *label;
};
constexpr std::array<CategoryNames, kCategories.size()> kNames = {{
    {Category::parameters, "parameters", "weights"},
    {Category::adapters, "adapters", "adapter"},
    {Category::master_weights, "master_weights", "master weights"},
    {Category::gradients, "gradients", "gradients"},
    {Category::optimizer_state, "optimizer_state", "optimizer"},
    {Category::activations, "activations", "activations"},
    {Category::workspace, "workspace", "workspace"},
    {Category::io_staging, "io_staging", "staging"},
}};

constexpr bool in_order() {
  for (size_t i = 0; i < kNames.size(); ++i)
    if (kNames[i].category != kCategories[i] || static_cast<size_t>(kCategories[i]) != i) return false;
  return true;
}
static_assert(in_order(), "both lists are in the order of the enumeration");

}  // namespace

const char* name_of(Category category) { return kNames[static_cast<size_t>(category)].name; }
const char* label_of(Category category) { return kNames[static_cast<size_t>(category)].label; }

int64_t CategoryBytes::sum() const { return std::accumulate(bytes_.begin(), bytes_.end(), int64_t{0}); }

}  // namespace plimsoll
