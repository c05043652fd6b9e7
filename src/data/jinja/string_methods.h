// Methods of Python's str.
#pragma once

#include <string_view>
#include <unordered_map>

#include "data/jinja/value.h"

namespace plimsoll::jinja {

using Method = Value (*)(const Value& self, Arguments& arguments);

const std::unordered_map<std::string_view, Method>& string_methods();

}  // namespace plimsoll::jinja
