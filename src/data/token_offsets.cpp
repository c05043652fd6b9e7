#include "data/token_offsets.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "base/text.h"

namespace plimsoll {
namespace {

constexpr size_t kMaxSearch = 256;  // bytes of text that one piece may stand for when it was changed

bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

std::string_view without_leading_blanks(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  return text;
}

size_t character_bytes(std::string_view text) {
  size_t bytes = text.empty() ? 0 : 1;
  while (bytes < text.size() && (static_cast<unsigned char>(text[bytes]) & 0xC0U) == 0x80U) ++bytes;
  return bytes;
}

// Case and normal form taken away.
std::string folded(std::string_view text) {
  utf8proc_uint8_t* mapped = nullptr;
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD | UTF8PROC_STABLE);
  const utf8proc_ssize_t length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()), &mapped, options);
  std::string result = length >= 0 ? std::string(reinterpret_cast<const char*>(mapped), static_cast<size_t>(length)) : std::string(text);
  std::free(mapped);
  return result;
}

struct Match {
  size_t begin, end;
};

// Where `piece` stands at the start of `rest`: as it is; with blanks gained or lost before it; or changed by
// normalization.
std::optional<Match> match_piece(std::string_view rest, std::string_view piece) {
  if (rest.starts_with(piece)) return Match{0, piece.size()};
  const std::string_view bare = without_leading_blanks(piece);
  if (rest.starts_with(bare)) return Match{0, bare.size()};
  const size_t skipped = rest.size() - without_leading_blanks(rest).size();
  if (skipped > 0 && rest.substr(skipped).starts_with(bare) && !bare.empty()) return Match{skipped, skipped + bare.size()};
  const std::string wanted = folded(bare);
  if (wanted.empty()) return std::nullopt;
  std::optional<Match> found;
  for (size_t end = skipped; end < rest.size() && end - skipped < kMaxSearch;) {
    end += character_bytes(rest.substr(end));
    const bool same = folded(rest.substr(skipped, end - skipped)) == wanted;
    if (same) found = Match{skipped, end};  // the longest: marks that fold to nothing belong to what they follow
    else if (found) break;
  }
  return found;
}

}  // namespace

EncodedText encode_with_offsets(const Tokenizer& tokenizer, std::string_view text, bool add_special) {
  EncodedText encoded;
  encoded.ids = tokenizer.encode(text, add_special);
  encoded.byte_offsets.assign(encoded.ids.size(), {0, 0});
  StreamDecoder decoder(tokenizer, false);
  size_t position = 0, waiting = 0;  // ids before i, from `waiting` on, hold parts of the next character
  for (size_t i = 0; i < encoded.ids.size(); ++i) {
    const int32_t id = encoded.ids[i];
    const std::string piece = decoder.put(id);
    auto& offsets = encoded.byte_offsets;
    const auto here = static_cast<int64_t>(position);
    if (piece.empty()) {
      offsets[i] = {here, here};
      if (tokenizer.is_special(id)) waiting = i + 1;
      continue;
    }
    const std::string_view rest = text.substr(position);
    const std::optional<Match> match = match_piece(rest, piece);
    if (!match) {
      if (!tokenizer.is_special(id))
        throw caller_error(one_line(rest, 40), "the tokenizer changes this text so that its tokens cannot be followed", "use --loss-on all");
      offsets[i] = {here, here};
      waiting = i + 1;
      continue;
    }
    const auto begin = here + static_cast<int64_t>(match->begin), end = here + static_cast<int64_t>(match->end);
    const auto first_character = static_cast<int64_t>(character_bytes(rest.substr(match->begin)));
    for (size_t part = waiting; part < i; ++part) offsets[part] = {begin, std::min(end, begin + first_character)};
    offsets[i] = {begin, end};
    position += match->end;
    waiting = i + 1;
  }
  return encoded;
}

std::vector<int32_t> token_mask(const EncodedText& encoded, const std::vector<ByteSpan>& spans) {
  std::vector<int32_t> mask;
  mask.reserve(encoded.ids.size());
  for (const auto& [begin, end] : encoded.byte_offsets)
    mask.push_back(begin < end && std::any_of(spans.begin(), spans.end(), [begin = begin, end = end](const ByteSpan& span) { return begin < span.second && end > span.first; }) ? 1 : 0);
  return mask;
}

}  // namespace plimsoll
