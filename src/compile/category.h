// What the bytes of a plan are for. The one list: reports, files and bars take names, labels and order from here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace plimsoll {

enum class Category : uint8_t {
  parameters,
  adapters,
  master_weights,
  gradients,
  optimizer_state,
  activations,
  workspace,
  io_staging,
};
inline constexpr std::array kCategories = {Category::parameters, Category::adapters,        Category::master_weights,
                                           Category::gradients,  Category::optimizer_state, Category::activations,
                                           Category::workspace,  Category::io_staging};

const char* name_of(Category category);   // in JSON and CSV: "optimizer_state"
const char* label_of(Category category);  // for people: "optimizer"

// Bytes by category.
class CategoryBytes {
 public:
  int64_t& operator[](Category category) { return bytes_[static_cast<size_t>(category)]; }
  int64_t operator[](Category category) const { return bytes_[static_cast<size_t>(category)]; }
  int64_t sum() const;

 private:
  std::array<int64_t, kCategories.size()> bytes_{};
};

}  // namespace plimsoll
