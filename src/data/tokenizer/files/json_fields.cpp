#include "data/tokenizer/files/json_fields.h"

#include "base/error.h"

namespace plimsoll::tokenizer {

void JsonSection::fail(const std::string& problem) const {
  throw caller_error(std::string(source), std::string(name) + ": " + problem,
                     "use a tokenizer.json of a published language model");
}

const nlohmann::json* JsonSection::find(const char* key) const {
  if (!json.is_object()) fail("an object is needed here");
  const auto found = json.find(key);
  return found == json.end() || found->is_null() ? nullptr : &*found;
}

const nlohmann::json& JsonSection::array(const char* key) const {
  static const nlohmann::json kNone = nlohmann::json::array();
  const nlohmann::json* found = find(key);
  if (found == nullptr) return kNone;
  if (!found->is_array()) fail(std::string("\"") + key + "\" must be an array");
  return *found;
}

std::string JsonSection::string(const char* key) const {
  const nlohmann::json* found = find(key);
  if (found == nullptr || !found->is_string()) fail(std::string("\"") + key + "\" must be a string");
  return found->get<std::string>();
}

std::string JsonSection::string_or(const char* key, std::string_view fallback) const {
  return find(key) == nullptr ? std::string(fallback) : string(key);
}

bool JsonSection::boolean_or(const char* key, bool fallback) const {
  const nlohmann::json* found = find(key);
  if (found == nullptr) return fallback;
  if (!found->is_boolean()) fail(std::string("\"") + key + "\" must be true or false");
  return found->get<bool>();
}

int64_t JsonSection::integer_or(const char* key, int64_t fallback) const {
  const nlohmann::json* found = find(key);
  if (found == nullptr) return fallback;
  if (!found->is_number_integer()) fail(std::string("\"") + key + "\" must be an integer");
  return found->get<int64_t>();
}

Regex JsonSection::pattern() const {
  const nlohmann::json* found = find("pattern");
  if (found != nullptr && found->is_string()) return Regex::literal(found->get<std::string>(), source);
  if (found != nullptr && found->is_object()) {
    const JsonSection inner = at(*found);
    if (inner.find("String") != nullptr) return Regex::literal(inner.string("String"), source);
    return Regex(inner.string("Regex"), source);
  }
  fail("\"pattern\" must be a String or a Regex");
}

}  // namespace plimsoll::tokenizer
