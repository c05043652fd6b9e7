// For tests: safetensors files out of vectors, and tensors of files that we wrote.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "formats/safetensors.h"
#include "formats/safetensors_writer.h"
#include "support/golden.h"
#include "support/test_files.h"

namespace plimsoll {

struct TestTensor {
  std::string name;
  DType dtype;
  Shape shape;
  std::vector<std::byte> bytes;
};

template <typename T>
TestTensor make_tensor(const std::string& name, DType dtype, Shape shape, const std::vector<T>& values) {
  TestTensor tensor{name, dtype, std::move(shape), std::vector<std::byte>(values.size() * sizeof(T))};
  std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  return tensor;
}

inline void write_tensors(const std::string& path, const std::vector<TestTensor>& tensors) {
  std::vector<SafetensorsOutput> entries;
  for (const TestTensor& tensor : tensors) entries.push_back({tensor.name, tensor.dtype, tensor.shape});
  SafetensorsWriter writer(path, entries);
  for (const TestTensor& tensor : tensors) writer.write(tensor.bytes);
  writer.finish();
}

inline double max_abs(std::span<const float> values) {
  double largest = 0;
  for (const float value : values) largest = std::max(largest, std::abs(static_cast<double>(value)));
  return largest;
}

// The largest |got - want|; infinite when the sizes differ or anything is not a number.
inline double max_difference(std::span<const float> got, std::span<const float> want) {
  if (got.size() != want.size()) return INFINITY;
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = std::abs(static_cast<double>(got[i]) - static_cast<double>(want[i]));
    if (std::isnan(error)) return INFINITY;
    worst = std::max(worst, error);
  }
  return worst;
}

}  // namespace plimsoll
