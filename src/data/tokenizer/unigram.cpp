#include "data/tokenizer/unigram.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "data/tokenizer/unicode.h"

namespace plimsoll::tokenizer {
namespace {

constexpr uint32_t kUnreached = 0xffffffff;
constexpr double kUnkPenalty = 10.0;

[[noreturn]] void fail_without_unk(std::string_view piece, size_t at) {
  throw caller_error("tokenizer",
                     "the character \"" + std::string(piece.substr(at, utf8_length(piece[at]))) +
                         "\" has no token and the model no unk_id",
                     "use a tokenizer with an unknown token or byte fallback");
}

}  // namespace

void UnigramModel::prepare(const Vocabulary& vocabulary, std::string_view source) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::vector<std::pair<std::string_view, int32_t>> entries;
  entries.reserve(static_cast<size_t>(vocabulary.count()));
  for (int32_t id = 0; id < vocabulary.end_id(); ++id) {
    if (vocabulary.has(id)) entries.emplace_back(vocabulary.text(id), id);
  }
  trie = Trie(std::move(entries), source);
  unk_score = (scores.empty() ? 0.0 : *std::min_element(scores.begin(), scores.end())) - kUnkPenalty;
  for (int byte = 0; byte < 256; ++byte) {
    fallback_ids[static_cast<size_t>(byte)] =
        vocabulary.find(std::string("<0x") + kHex[byte >> 4] + kHex[byte & 15] + ">");
  }
}

void UnigramModel::encode(const Vocabulary& vocabulary, std::string_view piece, UnigramScratch& scratch,
                          std::vector<int32_t>& out) const {
  auto& nodes = scratch.nodes;
  nodes.assign(piece.size() + 1, {0.0, kUnreached, kNoToken});
  const auto offer = [&](size_t end, double score, size_t start, int32_t id) {
    UnigramScratch::Node& node = nodes[end];
    if (node.start == kUnreached || score > node.score) node = {score, static_cast<uint32_t>(start), id};
  };
  for (size_t at = 0; at < piece.size();) {
    const double here = nodes[at].score;
    const size_t character = utf8_length(piece[at]);
    bool single = false;
    trie.prefixes(piece.substr(at), [&](size_t length, int32_t id) {
      offer(at + length, here + scores[static_cast<size_t>(id)], at, id);
      single = single || length == character;
    });
    if (!single) {
      if (unk_id == kNoToken) fail_without_unk(piece, at);
      offer(at + character, here + unk_score, at, unk_id);
    }
    at += character;
  }
  // Backwards, with neighbouring unknowns joined to one span.
  auto& spans = scratch.spans;
  spans.clear();
  bool joining = false;
  for (size_t end = piece.size(); end > 0;) {
    const UnigramScratch::Node& node = nodes[end];
    const bool unknown = unk_id != kNoToken && node.id == unk_id;
    if (unknown && joining) spans.back().begin = node.start;
    else spans.push_back({node.start, static_cast<uint32_t>(end)});
    joining = unknown;
    end = node.start;
  }
  for (auto span = spans.rbegin(); span != spans.rend(); ++span) {
    const std::string_view text = piece.substr(span->begin, span->end - span->begin);
    const int32_t id = text.size() <= vocabulary.longest_bytes() ? vocabulary.find(text) : kNoToken;
    const auto fallback = [&](char byte) { return fallback_ids[static_cast<unsigned char>(byte)]; };
    if (id != kNoToken) {
      out.push_back(id);
    } else if (byte_fallback &&
               std::all_of(text.begin(), text.end(), [&](char byte) { return fallback(byte) != kNoToken; })) {
      for (const char byte : text) out.push_back(fallback(byte));
    } else {
      out.push_back(unk_id);
    }
  }
}

}  // namespace plimsoll::tokenizer
