// JSON in and out of template values.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "data/jinja/value.h"

namespace plimsoll::jinja {

inline constexpr int kMaxJsonDepth = 128;
inline constexpr int64_t kMaxJsonValues = int64_t{4} << 20;  // of one document

// Parses one JSON document as Python's json.loads does: order kept, the last of equal keys wins. Integers keep 128
// bits, larger ones become floats. Throws Failure saying what is wrong (syntax, invalid UTF-8, too deep, too many).
Value parse_json(std::string_view text);
Value from_json(const nlohmann::ordered_json& json);

struct JsonStyle {
  bool ascii = false;
  bool indented = false;
  std::string indent;
  std::string item_separator = ", ", key_separator = ": ";
  bool sort_keys = false;
};
// json.dumps. Failure for what JSON cannot hold (undefined, namespaces, …).
std::string dump_json(const Value& value, const JsonStyle& style);

}  // namespace plimsoll::jinja
