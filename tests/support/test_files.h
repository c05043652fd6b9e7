// For tests: a folder that goes away, golden files, and the error that something throws.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "base/error.h"
#include "formats/safetensors.h"
#include "formats/tensor_index.h"

namespace plimsoll {

inline std::string golden_path(const std::string& name) { return PLIMSOLL_TEST_DATA "/golden/" + name; }

class TestFolder {
 public:
  TestFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "plimsoll-test-XXXXXX").string();
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
  }
  ~TestFolder() { std::filesystem::remove_all(path_); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }
  size_t files() const {
    return static_cast<size_t>(
        std::distance(std::filesystem::directory_iterator(path_), std::filesystem::directory_iterator()));
  }
  std::string write(const std::string& name, std::string_view bytes) const {
    std::filesystem::create_directories(std::filesystem::path(*this / name).parent_path());
    std::ofstream out(*this / name, std::ios::binary);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    EXPECT_TRUE(out);
    return *this / name;
  }

 private:
  std::string path_;
};

inline std::string read_bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

struct Caught {
  ErrorKind kind;
  std::string text;  // thing, problem and way out in one
};

// The Error that `action` throws; a test failure when it throws none.
inline Caught catch_error(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_FALSE(error.way_out().empty());
    return {error.kind(), std::string(error.what()) + " | " + error.way_out()};
  }
  ADD_FAILURE() << "nothing was thrown";
  return {ErrorKind::internal, ""};
}

inline void expect_caller_error(const std::function<void()>& action, const std::string& part) {
  const Caught caught = catch_error(action);
  EXPECT_EQ(caught.kind, ErrorKind::caller) << caught.text;
  EXPECT_NE(caught.text.find(part), std::string::npos) << caught.text;
}

template <typename T>
std::vector<T> read_tensor_as(const TensorIndex& index, const std::string& name) {
  const TensorEntry* entry = index.find(name);
  if (entry == nullptr) throw caller_error(name, "is not in the file", "look at the test data");
  std::vector<T> values(static_cast<size_t>(entry->bytes) / sizeof(T));
  index.files[static_cast<size_t>(entry->file)]->read(entry->offset, std::as_writable_bytes(std::span(values)));
  return values;
}

// load_tensor to float with a staging buffer of `staging_bytes` (0: the least).
inline std::vector<float> load_floats(const TensorIndex& index, const std::string& name, int64_t staging_bytes = 0) {
  const TensorEntry* entry = index.find(name);
  if (entry == nullptr) throw caller_error(name, "is not in the file", "look at the test data");
  std::vector<float> values(static_cast<size_t>(entry->shape.elements()));
  std::vector<std::byte> staging(static_cast<size_t>(std::max(staging_bytes, min_staging_bytes(*entry))));
  load_tensor(index, *entry, DType::f32, std::as_writable_bytes(std::span(values)), staging);
  return values;
}

template <typename T>
std::string as_string(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

}  // namespace plimsoll
