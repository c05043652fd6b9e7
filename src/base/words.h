// Names as people write them: lists in one word ("q_proj,v_proj"), in any case, with any marks between.
#pragma once

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>
#include <vector>

namespace plimsoll {

// The parts between separators, without the blanks around them. A part may be empty; an empty text is one empty part.
inline std::vector<std::string> split_list(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(separator, begin), text.size());
    std::string_view part = text.substr(begin, end - begin);
    part.remove_prefix(std::min(part.find_first_not_of(" \t"), part.size()));
    parts.emplace_back(part.substr(0, part.find_last_not_of(" \t") + 1));
    begin = end + 1;
  }
  return parts;
}

inline std::string lower_case(std::string_view text) {  // of ASCII letters
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower;
}

// Lower case, letters and digits only: "H100 80GB SXM" and "h100-80gb-sxm" are one name.
inline std::string bare_name(std::string_view text) {
  std::string bare = lower_case(text);
  std::erase_if(bare, [](unsigned char c) { return std::isalnum(c) == 0; });
  return bare;
}

}  // namespace plimsoll
