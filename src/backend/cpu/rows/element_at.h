// Element i of an array whose type the caller knows; null stays null.
#pragma once

#include <cstdint>

namespace plimsoll::cpu {

template <typename T>
const T* element_at(const void* p, int64_t i) {
  return p == nullptr ? nullptr : static_cast<const T*>(p) + i;
}
template <typename T>
T* element_at(void* p, int64_t i) {
  return p == nullptr ? nullptr : static_cast<T*>(p) + i;
}

}  // namespace plimsoll::cpu
