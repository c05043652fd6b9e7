#include "data/token_offsets.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string>

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
  const auto options =
      static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD | UTF8PROC_STABLE);
  const utf8proc_ssize_t length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                               static_cast<utf8proc_ssize_t>(text.size()), &mapped, options);
  std::string result =
      length >= 0 ? std::string(reinterpret_cast<const char*>(mapped), static_cast<size_t>(length)) : std::string(text);
  std::free(mapped);
  return result;
}

// Bytes of `rest` that read as `piece`, where SentencePiece's sign for a blank (U+2581) may stand for one; empty: it
// does not begin so.
std::optional<size_t> prefix_bytes(std::string_view rest, std::string_view piece) {
  constexpr std::string_view kBlankSign = "\xe2\x96\x81";
  size_t used = 0;
  for (size_t i = 0; i < piece.size(); ++i) {
    if (used < rest.size() && rest[used] == piece[i]) ++used;
    else if (piece[i] == ' ' && rest.substr(used).starts_with(kBlankSign)) used += kBlankSign.size();
    else return std::nullopt;
  }
  return used;
}

struct Match {
  size_t begin, end;
};

// Where `piece` stands at the start of `rest`: as it is; with blanks gained or lost before it; or changed by
// normalization.
std::optional<Match> match_piece(std::string_view rest, std::string_view piece) {
  if (const auto used = prefix_bytes(rest, piece)) return Match{0, *used};
  const std::string_view bare = without_leading_blanks(piece);
  if (const auto used = prefix_bytes(rest, bare)) return Match{0, *used};
  const size_t skipped = rest.size() - without_leading_blanks(rest).size();
  if (skipped > 0 && rest.substr(skipped).starts_with(bare) && !bare.empty())
    return Match{skipped, skipped + bare.size()};
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

// The first place of `piece` in the next bytes.
std::optional<Match> find_piece(std::string_view rest, std::string_view piece) {
  const size_t at = rest.substr(0, kMaxSearch).find(piece);
  return at == std::string_view::npos ? std::nullopt : std::optional(Match{at, at + piece.size()});
}

}  // namespace

EncodedText encode_with_offsets(const Tokenizer& tokenizer, std::string_view text, bool add_special) {
  EncodedText encoded;
  encoded.ids = tokenizer.encode(text, add_special);
  auto& offsets = encoded.byte_offsets;
  offsets.assign(encoded.ids.size(), {0, 0});
  StreamDecoder decoder(tokenizer, false);
  size_t position = 0, waiting = 0;  // ids before i, from `waiting` on, belong to what stands at `position`
  bool lost = false;                 // text was passed over that could not be matched
  const auto place_waiting = [&](size_t until, size_t end) {
    for (; waiting < until; ++waiting) offsets[waiting] = {static_cast<int64_t>(position), static_cast<int64_t>(end)};
  };
  for (size_t i = 0; i < encoded.ids.size(); ++i) {
    const std::string piece = decoder.put(encoded.ids[i]);
    const std::string_view rest = text.substr(position);
    const std::optional<Match> match = piece.empty() ? std::nullopt
                                       : lost        ? find_piece(rest, piece)
                                                     : match_piece(rest, piece);
    if (match) {
      const size_t begin = position + match->begin, end = position + match->end;
      // Parts of one character share it; what could not be matched shares all that was passed over.
      if (!lost) position = begin;
      place_waiting(i, lost ? begin : std::min(end, begin + character_bytes(text.substr(begin))));
      offsets[i] = {static_cast<int64_t>(begin), static_cast<int64_t>(end)};
      position = end;
      waiting = i + 1;
      lost = false;
    } else if (add_special && position == 0 && waiting == i && tokenizer.is_special(encoded.ids[i])) {
      offsets[i] = {0, 0};  // added before the text; elsewhere a special token stands for text, as <unk> does
      waiting = i + 1;
    } else if (!piece.empty()) {
      lost = true;
    }
  }
  size_t last = encoded.ids.size();  // what was added behind the text
  while (add_special && last > waiting && tokenizer.is_special(encoded.ids[last - 1])) --last;
  place_waiting(last, text.size());
  if (waiting < encoded.ids.size()) {
    position = text.size();
    place_waiting(encoded.ids.size(), text.size());
  }
  return encoded;
}

std::vector<int32_t> token_mask(const EncodedText& encoded, const std::vector<ByteSpan>& spans) {
  std::vector<int32_t> mask;
  mask.reserve(encoded.ids.size());
  for (const auto& [begin, end] : encoded.byte_offsets)
    mask.push_back(begin < end && std::any_of(spans.begin(), spans.end(),
                                              [begin = begin, end = end](const ByteSpan& span) {
                                                return begin < span.second && end > span.first;
                                              })
                       ? 1
                       : 0);
  return mask;
}

}  // namespace plimsoll
