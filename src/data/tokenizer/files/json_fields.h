// Reading the small sections of tokenizer.json (normalizer, pre_tokenizer, decoder, post_processor) from a JSON tree.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "data/tokenizer/regex.h"

namespace plimsoll::tokenizer {

// One object of a section with the place it stands, for errors: "tokenizer.json" and "pre_tokenizer".
struct JsonSection {
  const nlohmann::json& json;
  std::string_view source;
  std::string_view name;

  [[noreturn]] void fail(const std::string& problem) const;
  // The section's object or array members as sections of the same name. Null and absent give an empty array.
  const nlohmann::json& array(const char* key) const;
  const nlohmann::json* find(const char* key) const;  // nullptr when absent or null
  std::string string(const char* key) const;          // required
  std::string string_or(const char* key, std::string_view fallback) const;
  bool boolean_or(const char* key, bool fallback) const;
  int64_t integer_or(const char* key, int64_t fallback) const;
  std::string type() const { return string("type"); }
  Regex pattern() const;  // "pattern": {"Regex": …} or {"String": …} or a plain string
  JsonSection at(const nlohmann::json& inner) const { return {inner, source, name}; }
};

inline constexpr int kMaxSectionDepth = 16;           // of Sequence in Sequence
inline constexpr size_t kMaxSectionSteps = 64;        // normalizers, pre-tokenizers, decoders in one chain
inline constexpr size_t kMaxSectionBytes = 8u << 20;  // a Precompiled normalizer is the largest, about 0.4 MB

}  // namespace plimsoll::tokenizer
