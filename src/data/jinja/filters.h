// Filters (value | name(…)) and tests (value is name(…)): Jinja 3.1's, with transformers' tojson. Not here, since no
// chat template needs them and an error naming them is better than a wrong text: filesizeformat, pprint, random,
// striptags, urlize, wordwrap, xmlattr.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

#include "data/jinja/value.h"

namespace plimsoll::jinja {

bool is_filter(std::string_view name);
bool is_test(std::string_view name);

// Failure for an unknown name.
Value apply_filter(const std::string& name, const Value& input, Arguments& arguments);
bool apply_test(const std::string& name, const Value& input, Arguments& arguments);

using Filter = Value (*)(const Value& input, Arguments& arguments);
const std::unordered_map<std::string_view, Filter>& text_filters();      // filters_text.cpp
const std::unordered_map<std::string_view, Filter>& sequence_filters();  // filters_sequence.cpp

}  // namespace plimsoll::jinja
