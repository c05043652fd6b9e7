// Where results go: stdout, once, whole, with every write checked. Progress and notes go to stderr (base/log.h).
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace plimsoll::cli {

using Json = nlohmann::ordered_json;  // keeps the order in which fields are set

// Throws a world Error when stdout is closed, full or gone.
void write_result(std::string_view text);
// As write_result, for what people read: on a terminal no line is wider than that.
void write_page(std::string_view text);
void write_json(
    const Json& document);  // one document and a newline; text that is not UTF-8 gets replacement characters

// As write_json, for one line of JSON Lines.
void write_json_line(const Json& document);

}  // namespace plimsoll::cli
