// For tests only: one golden safetensors file, read whole. Missing names or files throw, so a test that finds no data
// fails.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace plimsoll {

class Golden {
 public:
  // `path` below tests/golden: "ops/rms_norm.safetensors".
  explicit Golden(const std::string& path) : path_(path) {
    std::ifstream file(std::string(PLIMSOLL_TEST_DATA "/golden/") + path, std::ios::binary);
    if (!file) throw std::runtime_error("no golden file " + path);
    bytes_.assign(std::istreambuf_iterator<char>(file), {});
    uint64_t header_bytes = 0;
    if (bytes_.size() < sizeof(header_bytes)) throw std::runtime_error("short golden file " + path);
    std::memcpy(&header_bytes, bytes_.data(), sizeof(header_bytes));
    data_ = sizeof(header_bytes) + header_bytes;
    header_ = nlohmann::json::parse(bytes_.begin() + sizeof(header_bytes),
                                    bytes_.begin() + static_cast<std::ptrdiff_t>(data_));
  }

  bool has(const std::string& name) const { return header_.contains(name); }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [name, entry] : header_.items())
      if (name != "__metadata__") all.push_back(name);
    return all;
  }
  std::vector<int64_t> shape(const std::string& name) const {
    return entry(name).at("shape").get<std::vector<int64_t>>();
  }
  std::vector<float> f32(const std::string& name) const { return values<float>(name, "F32"); }
  std::vector<int64_t> i64(const std::string& name) const { return values<int64_t>(name, "I64"); }
  std::vector<int32_t> i32(const std::string& name) const {  // of an I64 tensor, too
    if (entry(name).at("dtype") == "I32") return values<int32_t>(name, "I32");
    const auto wide = i64(name);
    return {wide.begin(), wide.end()};
  }
  std::vector<uint16_t> bf16_bits(const std::string& name) const { return values<uint16_t>(name, "BF16"); }
  std::vector<uint8_t> bytes(const std::string& name) const {  // whatever the type is
    const auto offsets = entry(name).at("data_offsets").get<std::vector<size_t>>();
    return {bytes_.begin() + static_cast<std::ptrdiff_t>(data_ + offsets[0]),
            bytes_.begin() + static_cast<std::ptrdiff_t>(data_ + offsets[1])};
  }

 private:
  const nlohmann::json& entry(const std::string& name) const {
    if (!header_.contains(name)) throw std::runtime_error(path_ + " has no tensor " + name);
    return header_.at(name);
  }
  template <typename T>
  std::vector<T> values(const std::string& name, const char* dtype) const {
    if (entry(name).at("dtype") != dtype) throw std::runtime_error(path_ + ": " + name + " is not " + dtype);
    const auto raw = bytes(name);
    std::vector<T> out(raw.size() / sizeof(T));
    std::memcpy(out.data(), raw.data(), out.size() * sizeof(T));
    return out;
  }

  std::string path_, bytes_;
  size_t data_ = 0;
  nlohmann::json header_;
};

}  // namespace plimsoll
