#include "config/json_fields.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "base/error.h"

namespace plimsoll {

using nlohmann::json;

json parse_json_object(std::string_view text, std::string_view source) {
  json value = json::parse(text.begin(), text.end(), nullptr, false);
  if (value.is_discarded()) {
    throw caller_error(std::string(source), "is not valid JSON", "check that the file is complete, or fetch it again");
  }
  if (!value.is_object()) {
    throw caller_error(std::string(source),
                       fmt::format("holds a JSON {} where an object is expected", value.type_name()),
                       "check that this is the file you meant");
  }
  return value;
}

std::string shorten_json(const json& value) {
  if (value.is_structured() && value.size() > 64)
    return fmt::format("{} of {} elements", value.type_name(), value.size());
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

JsonFields::JsonFields(const json& object, std::string_view source, std::string prefix)
    : object_(object), source_(source), prefix_(std::move(prefix)) {}

const json* JsonFields::find(std::string_view key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

bool JsonFields::present(std::string_view key) const { return object_.contains(key); }

void JsonFields::fail(std::string_view key, const std::string& problem, const std::string& way_out) const {
  throw caller_error(source_, fmt::format("{}{} {}", prefix_, key, problem), way_out);
}

std::optional<double> JsonFields::number(std::string_view key, double least, double most) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  const double number = value->is_number() ? value->get<double>() : std::nan("");
  if (!(number >= least && number <= most)) {
    fail(key, fmt::format("is {}, not a number from {} to {}", shorten_json(*value), least, most),
         "correct this value");
  }
  return number;
}

std::optional<int64_t> JsonFields::integer(std::string_view key, int64_t least, int64_t most) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  const double number = value->is_number() ? value->get<double>() : std::nan("");
  const bool in_range = number >= static_cast<double>(least) && number <= static_cast<double>(most);
  if (!in_range || number != std::floor(number)) {
    fail(key, fmt::format("is {}, not an integer from {} to {}", shorten_json(*value), least, most),
         "correct this value");
  }
  return value->is_number_float() ? static_cast<int64_t>(number) : value->get<int64_t>();
}

std::optional<bool> JsonFields::boolean(std::string_view key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean())
    fail(key, fmt::format("is {}, not true or false", shorten_json(*value)), "correct this value");
  return value->get<bool>();
}

std::optional<std::string> JsonFields::text(std::string_view key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) fail(key, fmt::format("is {}, not a text", shorten_json(*value)), "correct this value");
  return value->get<std::string>();
}

int64_t JsonFields::required_integer(std::string_view key, int64_t least, int64_t most) const {
  const std::optional<int64_t> value = integer(key, least, most);
  if (!value) fail(key, "is missing", "this needs the complete config.json of a language model");
  return *value;
}

}  // namespace plimsoll
