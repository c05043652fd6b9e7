#include "data/tokenizer/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/error.h"
#include "data/tokenizer/unicode.h"

namespace plimsoll::tokenizer {
namespace {

using Kind = NormalizerStep::Kind;

void parse_step(const JsonSection& section, int depth, Normalizer& out) {
  if (depth > kMaxSectionDepth || out.size() >= kMaxSectionSteps) section.fail("too many normalizers in each other");
  const std::string type = section.type();
  constexpr std::array<std::pair<std::string_view, Kind>, 7> kPlain = {{{"NFC", Kind::nfc},
                                                                        {"NFD", Kind::nfd},
                                                                        {"NFKC", Kind::nfkc},
                                                                        {"NFKD", Kind::nfkd},
                                                                        {"Lowercase", Kind::lowercase},
                                                                        {"StripAccents", Kind::strip_accents},
                                                                        {"ByteLevel", Kind::byte_level}}};
  for (const auto& [name, kind] : kPlain) {
    if (type == name) {
      out.push_back({.kind = kind});
      return;
    }
  }
  if (type == "Sequence") {
    for (const nlohmann::json& inner : section.array("normalizers")) parse_step(section.at(inner), depth + 1, out);
  } else if (type == "Strip") {
    out.push_back({.kind = Kind::strip,
                   .left = section.boolean_or("strip_left", true),
                   .right = section.boolean_or("strip_right", true)});
  } else if (type == "Prepend") {
    out.push_back({.kind = Kind::prepend, .text = section.string("prepend")});
  } else if (type == "Replace") {
    NormalizerStep step{.kind = Kind::replace, .text = section.string("content")};
    const nlohmann::json* pattern = section.find("pattern");
    if (pattern != nullptr && pattern->is_object() && pattern->contains("String"))
      step.literal = section.at(*pattern).string("String");
    if (step.literal.empty()) step.regex = std::make_shared<Regex>(section.pattern());
    out.push_back(std::move(step));
  } else if (type == "Precompiled") {
    const nlohmann::json* map = section.find("precompiled_charsmap");
    if (map == nullptr) return;
    out.push_back({.kind = Kind::precompiled,
                   .charsmap = std::make_shared<Charsmap>(section.string("precompiled_charsmap"), section.source)});
  } else {
    section.fail("the kind \"" + type + "\" is not supported");
  }
}

int combining_class(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

// One run to its normal form. utf8proc composes; decomposing and ordering is done here because its own ordering is
// quadratic in a run of marks.
void append_normal_form(std::string_view run, Kind kind, std::string& out) {
  int options = UTF8PROC_STABLE | (kind == Kind::nfkc || kind == Kind::nfkd ? UTF8PROC_COMPAT : 0);
  std::vector<utf8proc_int32_t> chars;
  chars.reserve(run.size() + 16);
  for (size_t at = 0; at < run.size();) {
    std::array<utf8proc_int32_t, 32> parts{};
    int boundary = 0;
    const auto count =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(next_char(run, at)), parts.data(), parts.size(),
                                static_cast<utf8proc_option_t>(options | UTF8PROC_DECOMPOSE), &boundary);
    PLIMSOLL_CHECK(count >= 0 && count <= static_cast<utf8proc_ssize_t>(parts.size()),
                   "a character decomposes into more than 32");
    chars.insert(chars.end(), parts.begin(), parts.begin() + count);
  }
  for (auto first = chars.begin(); first != chars.end();) {
    if (combining_class(*first) == 0) {
      ++first;
      continue;
    }
    auto last = first;
    while (last != chars.end() && combining_class(*last) != 0) ++last;
    std::stable_sort(first, last, [](auto a, auto b) { return combining_class(a) < combining_class(b); });
    first = last;
  }
  auto length = static_cast<utf8proc_ssize_t>(chars.size());
  if (kind == Kind::nfc || kind == Kind::nfkc) {
    length = utf8proc_normalize_utf32(chars.data(), length,
                                      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    PLIMSOLL_CHECK(length >= 0, "utf8proc does not compose");
  }
  for (utf8proc_ssize_t i = 0; i < length; ++i) append_utf8(static_cast<char32_t>(chars[static_cast<size_t>(i)]), out);
}

// ASCII stands in every form as it is and never joins what precedes it, so only runs that begin before a character
// beyond it need work; the memory is that of one run.
void append_normalized(std::string_view text, Kind kind, std::string& out) {
  const auto ascii = [&](size_t i) { return static_cast<unsigned char>(text[i]) < 0x80; };
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    if (ascii(at)) {
      ++at;
      continue;
    }
    const size_t begin = at > done ? at - 1 : at;
    while (at < text.size() && !ascii(at)) ++at;
    out += text.substr(done, begin - done);
    append_normal_form(text.substr(begin, at - begin), kind, out);
    done = at;
  }
  out += text.substr(done);
}

void append_lowercase(std::string_view text, std::string& out) {
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_char(text, at);
    if (c < 0x80) {
      out += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    } else if (c == 0x130) {
      out += "i\xcc\x87";  // the one character whose lower case is two
    } else {
      append_utf8(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), out);
    }
  }
}

std::string_view strip(std::string_view text, bool left, bool right) {
  while (left && !text.empty()) {
    size_t at = 0;
    if (!is_whitespace(next_char(text, at))) break;
    text.remove_prefix(at);
  }
  while (right && !text.empty()) {
    size_t at = previous_char(text, text.size());
    const size_t start = at;
    if (!is_whitespace(next_char(text, at))) break;
    text = text.substr(0, start);
  }
  return text;
}

void append_replaced(const NormalizerStep& step, std::string_view text, RegexScratch& regex, std::string& out) {
  if (step.regex) {
    for_each_match(*step.regex, text, regex, [&](size_t begin, size_t end, bool match) {
      out += match ? std::string_view(step.text) : text.substr(begin, end - begin);
    });
    return;
  }
  size_t done = 0;
  for (size_t at; (at = text.find(step.literal, done)) != std::string_view::npos; done = at + step.literal.size()) {
    out += text.substr(done, at - done);
    out += step.text;
  }
  out += text.substr(done);
}

void apply(const NormalizerStep& step, std::string_view text, RegexScratch& regex, std::string& out) {
  switch (step.kind) {
    case Kind::nfc:
    case Kind::nfd:
    case Kind::nfkc:
    case Kind::nfkd:
      append_normalized(text, step.kind, out);
      break;
    case Kind::lowercase:
      append_lowercase(text, out);
      break;
    case Kind::strip:
      out += strip(text, step.left, step.right);
      break;
    case Kind::strip_accents:
      for (size_t at = 0; at < text.size();) {
        const char32_t c = next_char(text, at);
        if (!is_mark(c)) append_utf8(c, out);
      }
      break;
    case Kind::prepend:
      if (!text.empty()) out += step.text;
      out += text;
      break;
    case Kind::replace:
      append_replaced(step, text, regex, out);
      break;
    case Kind::byte_level:
      append_byte_chars(text, out);
      break;
    case Kind::precompiled:
      step.charsmap->apply(text, out);
      break;
  }
}

bool leaves_ascii_alone(Kind kind) {
  return kind == Kind::nfc || kind == Kind::nfd || kind == Kind::nfkc || kind == Kind::nfkd ||
         kind == Kind::strip_accents;
}

}  // namespace

Normalizer parse_normalizer(const JsonSection& section) {
  Normalizer normalizer;
  if (!section.json.is_null()) parse_step(section, 0, normalizer);
  return normalizer;
}

std::string_view normalize(const Normalizer& normalizer, std::string_view text, NormalizerScratch& scratch,
                           RegexScratch& regex) {
  std::string *target = &scratch.front, *other = &scratch.back;
  for (const NormalizerStep& step : normalizer) {
    if (leaves_ascii_alone(step.kind) &&
        std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; })) {
      continue;
    }
    target->clear();
    apply(step, text, regex, *target);
    text = *target;
    std::swap(target, other);
  }
  return text;
}

}  // namespace plimsoll::tokenizer
