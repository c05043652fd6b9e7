// SentencePiece BPE as GGUF files carry it (model "llama"): no merges, only scores; the two neighbours whose joined
// text is the best-scored token merge first. n log n in the length of a piece.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "data/tokenizer/vocabulary.h"

namespace plimsoll::tokenizer {

struct SpmScratch {
  struct Symbol {
    uint32_t begin, bytes;  // bytes 0: merged away
    uint32_t previous, next;
  };
  struct Candidate {
    float score;
    uint32_t at, bytes;
  };
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
};

struct SpmModel {
  std::vector<float> scores;  // by id
  int32_t unk_id = kNoToken;
  std::array<int32_t, 256> fallback_ids{};  // by prepare(): the <0xXX> tokens

  void prepare(const Vocabulary& vocabulary);
  // Characters without a token become bytes, then unk_id; without either they are left out.
  void encode(const Vocabulary& vocabulary, std::string_view piece, SpmScratch& scratch,
              std::vector<int32_t>& out) const;
};

}  // namespace plimsoll::tokenizer
