#include "data/tokenizer/decoder.h"

#include <optional>
#include <utility>

#include "data/tokenizer/unicode.h"

namespace plimsoll::tokenizer {
namespace {

using Kind = DecoderStep::Kind;
using Tokens = std::vector<std::string>;

void parse_step(const JsonSection& section, int depth, Decoder& out) {
  if (depth > kMaxSectionDepth || out.steps.size() >= kMaxSectionSteps) section.fail("too many decoders in each other");
  const std::string type = section.type();
  if (type == "Sequence") {
    for (const nlohmann::json& inner : section.array("decoders")) parse_step(section.at(inner), depth + 1, out);
  } else if (type == "ByteLevel") {
    out.steps.push_back({.kind = Kind::byte_level});
  } else if (type == "ByteFallback") {
    out.steps.push_back({.kind = Kind::byte_fallback});
  } else if (type == "Fuse") {
    out.steps.push_back({.kind = Kind::fuse});
  } else if (type == "Strip") {
    DecoderStep step{.kind = Kind::strip,
                     .text = section.string_or("content", " "),
                     .start = section.integer_or("start", 0),
                     .stop = section.integer_or("stop", 0)};
    if (step.text.empty() || utf8_length(step.text[0]) != step.text.size())
      section.fail("\"content\" must be one character");
    out.steps.push_back(std::move(step));
  } else if (type == "Replace") {
    out.steps.push_back({.kind = Kind::replace,
                         .text = section.string("content"),
                         .regex = std::make_shared<Regex>(section.pattern())});
  } else if (type == "Metaspace") {
    const std::string scheme =
        section.string_or("prepend_scheme", section.boolean_or("add_prefix_space", true) ? "always" : "never");
    out.steps.push_back({.kind = Kind::metaspace,
                         .text = section.string_or("replacement", "\xe2\x96\x81"),
                         .drop_first = scheme != "never"});
  } else if (type == "BPEDecoder") {
    out.steps.push_back({.kind = Kind::bpe_suffix, .text = section.string_or("suffix", "</w>")});
  } else {
    section.fail("the kind \"" + type + "\" is not supported");
  }
}

std::optional<char> fallback_byte(const std::string& token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int value = 0;
  for (const char c : {token[3], token[4]}) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return std::nullopt;
    value = value * 16 + digit;
  }
  return static_cast<char>(value);
}

// A run of byte tokens is one text if it is UTF-8, else one U+FFFD a byte.
Tokens byte_fallback(Tokens tokens) {
  Tokens out;
  std::string run;
  const auto flush = [&] {
    if (run.empty()) return;
    if (valid_utf8_prefix(run) == run.size()) {
      out.push_back(run);
    } else {
      for (size_t i = 0; i < run.size(); ++i) out.emplace_back("\xef\xbf\xbd");
    }
    run.clear();
  };
  for (std::string& token : tokens) {
    if (const std::optional<char> byte = fallback_byte(token)) {
      run += *byte;
      continue;
    }
    flush();
    out.push_back(std::move(token));
  }
  flush();
  return out;
}

// Printable characters back to bytes; a token with any other character (an added token) is taken as it is.
Tokens byte_level(const Tokens& tokens) {
  std::string bytes, one;
  for (const std::string& token : tokens) {
    one.clear();
    bool mapped = true;
    for (size_t at = 0; mapped && at < token.size();) {
      const int byte = char_to_byte(next_char(token, at));
      mapped = byte >= 0;
      one += static_cast<char>(byte);
    }
    bytes += mapped ? one : token;
  }
  return {valid_utf8_prefix(bytes) == bytes.size() ? std::move(bytes) : to_valid_utf8(bytes)};
}

std::string replaced(const DecoderStep& step, const std::string& token, RegexScratch& scratch) {
  std::string out;
  for_each_match(*step.regex, token, scratch, [&](size_t begin, size_t end, bool match) {
    if (match) out += step.text;
    else out.append(token, begin, end - begin);
  });
  return out;
}

std::string stripped(const DecoderStep& step, const std::string& token) {
  std::string_view rest = token;
  for (int64_t i = 0; i < step.start && rest.starts_with(step.text); ++i) rest.remove_prefix(step.text.size());
  for (int64_t i = 0; i < step.stop && rest.ends_with(step.text); ++i) rest.remove_suffix(step.text.size());
  return std::string(rest);
}

std::string spaced(const std::string& token, const std::string& from, std::string_view to) {
  if (from.empty()) return token;
  std::string out;
  size_t done = 0;
  for (size_t at; (at = token.find(from, done)) != std::string::npos; done = at + from.size()) {
    out.append(token, done, at - done);
    out += to;
  }
  return out.append(token, done);
}

std::string joined(const Tokens& tokens, std::string_view between) {
  std::string out;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i != 0) out += between;
    out += tokens[i];
  }
  return out;
}

Tokens apply(const DecoderStep& step, Tokens tokens, RegexScratch& scratch) {
  switch (step.kind) {
    case Kind::byte_level:
      return byte_level(tokens);
    case Kind::byte_fallback:
      return byte_fallback(std::move(tokens));
    case Kind::fuse:
      return {joined(tokens, "")};
    case Kind::strip:
      for (std::string& token : tokens) token = stripped(step, token);
      break;
    case Kind::replace:
      for (std::string& token : tokens) token = replaced(step, token, scratch);
      break;
    case Kind::metaspace:
      for (size_t i = 0; i < tokens.size(); ++i)
        tokens[i] = spaced(tokens[i], step.text, i == 0 && step.drop_first ? "" : " ");
      break;
    case Kind::bpe_suffix:
      for (size_t i = 0; i < tokens.size(); ++i)
        tokens[i] = spaced(tokens[i], step.text, i + 1 == tokens.size() ? "" : " ");
      break;
  }
  return tokens;
}

}  // namespace

Decoder parse_decoder(const JsonSection& section) {
  Decoder decoder;
  if (section.json.is_null()) return decoder;
  decoder.present = true;
  parse_step(section, 0, decoder);
  return decoder;
}

std::string decode_tokens(const Decoder& decoder, std::vector<std::string> tokens) {
  if (!decoder.present) return joined(tokens, " ");
  RegexScratch scratch;
  for (const DecoderStep& step : decoder.steps) tokens = apply(step, std::move(tokens), scratch);
  return joined(tokens, "");
}

}  // namespace plimsoll::tokenizer
