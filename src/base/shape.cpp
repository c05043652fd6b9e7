#include "base/shape.h"

#include <algorithm>

#include "base/error.h"

namespace plimsoll {

Shape::Shape(std::span<const int64_t> dims) : rank_(static_cast<int>(dims.size())) {
  PLIMSOLL_CHECK(dims.size() <= kMaxRank, "too many dimensions");
  for (size_t i = 0; i < dims.size(); ++i) {
    PLIMSOLL_CHECK(dims[i] >= 0, "negative dimension");
    dims_[i] = dims[i];
  }
}

int64_t Shape::elements() const {
  if (std::ranges::find(dims(), 0) != dims().end()) return 0;  // whatever the others multiply to
  int64_t product = 1;
  for (const int64_t dim : dims())
    PLIMSOLL_CHECK(!__builtin_mul_overflow(product, dim, &product), "element count overflows");
  return product;
}

std::string to_string(const Shape& shape) {
  std::string text = "(";
  for (int i = 0; i < shape.rank(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + ")";
}

}  // namespace plimsoll
