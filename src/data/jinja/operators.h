// Operators, subscripts and attributes on values, as Python under Jinja's immutable sandbox.
#pragma once

#include <string>
#include <string_view>

#include "data/jinja/value.h"

namespace plimsoll::jinja {

Value apply_binary(std::string_view op, const Value& left, const Value& right);  // + - * / // % ** ~
bool apply_compare(std::string_view op, const Value& left, const Value& right);  // == != < <= > >= in, not in
Value negate(const Value& value);
bool contains(const Value& container, const Value& item);

// obj[key]: the item, else the attribute of that name, else undefined.
Value get_item(const Value& object, const Value& key);
// obj.name: the attribute (a method, say), else the item, else undefined. Loops answer through their own object.
Value get_attribute(const Value& object, std::string_view name);
// Only attributes; nullopt when there is none.
std::optional<Value> find_attribute(const Value& object, std::string_view name);
// A bound that is none is open.
Value get_slice(const Value& object, const Value& start, const Value& stop, const Value& step);

// "…" % value
std::string format_percent(const std::string& format, const Value& value);
// "…".format(…)
std::string format_braces(const std::string& format, const Arguments& arguments);
std::string escape_html(std::string_view text);

}  // namespace plimsoll::jinja
