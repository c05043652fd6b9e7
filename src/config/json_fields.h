// Reading one JSON object of a file that people or programs wrote: every mistake becomes a caller Error that names the
// file, the key and the value.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace plimsoll {

// Parses `text` into an object. Throws a caller Error for anything else.
nlohmann::json parse_json_object(std::string_view text, std::string_view source);

// "{"a":1,…" cut to a length that fits an error line.
std::string shorten_json(const nlohmann::json& value);

// A view of an object; keys that hold null count as absent unless said otherwise.
class JsonFields {
 public:
  // `prefix` stands before keys in errors, "rope_parameters.". Both arguments must outlive this view.
  JsonFields(const nlohmann::json& object, std::string_view source, std::string prefix = "");

  const nlohmann::json* find(std::string_view key) const;  // nullptr when absent or null
  bool present(std::string_view key) const;                // also when null
  std::optional<int64_t> integer(std::string_view key, int64_t least, int64_t most) const;
  std::optional<double> number(std::string_view key, double least, double most) const;
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string> text(std::string_view key) const;

  int64_t required_integer(std::string_view key, int64_t least, int64_t most) const;
  [[noreturn]] void fail(std::string_view key, const std::string& problem, const std::string& way_out) const;

 private:
  const nlohmann::json& object_;
  std::string source_, prefix_;
};

}  // namespace plimsoll
