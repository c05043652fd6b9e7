// A value in its width: what "%05.1f" % x and "{:>8,}".format(x) share.
#pragma once

#include <string>

#include "data/jinja/value.h"

namespace plimsoll::jinja {

struct FormatSpec {
  std::string fill = " ";
  char align = 0;  // < > ^ =
  char sign = '-';
  bool alternate = false, zero = false;
  char group = 0;  // , or _
  int width = 0;
  int precision = -1;
  char type = 0;
};

// `value` must be a number.
std::string format_number(const Value& value, const FormatSpec& spec);
// `sign` (with a prefix such as 0x) stands in front of padding zeros. The width counts code points.
std::string pad_to_width(const std::string& sign, const std::string& body, const FormatSpec& spec, char default_align);
std::string cut_to_precision(const std::string& text, int precision);  // below 0: all of it

}  // namespace plimsoll::jinja
