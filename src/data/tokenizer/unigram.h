// The unigram language model of SentencePiece (Kudo 2018, arXiv:1804.10959): the best path over all pieces, as the
// tokenizers library walks it.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "data/tokenizer/trie.h"
#include "data/tokenizer/vocabulary.h"

namespace plimsoll::tokenizer {

struct UnigramScratch {
  struct Node {
    double score;
    uint32_t start;  // kUnreached: no path ends here
    int32_t id;
  };
  std::vector<Node> nodes;
  struct Span {
    uint32_t begin, end;
  };
  std::vector<Span> spans;
};

struct UnigramModel {
  std::vector<double> scores;  // by id, logarithms
  int32_t unk_id = kNoToken;
  bool byte_fallback = false;
  // Derived by prepare().
  Trie trie;
  double unk_score = 0;
  std::array<int32_t, 256> fallback_ids{};

  void prepare(const Vocabulary& vocabulary, std::string_view source);
  // Appends the ids of one piece; a character without a piece needs unk_id, else a caller Error.
  void encode(const Vocabulary& vocabulary, std::string_view piece, UnigramScratch& scratch,
              std::vector<int32_t>& out) const;
};

}  // namespace plimsoll::tokenizer
