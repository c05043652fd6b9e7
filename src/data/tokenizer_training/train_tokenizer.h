// A tokenizer learnt from text, as a folder that the tokenizers and transformers libraries load.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace plimsoll {

enum class TokenizerKind {
  bpe,      // byte-level merges on GPT-2's pieces: every text comes back as it was
  unigram,  // SentencePiece's language model of pieces (Kudo 2018, arXiv:1804.10959), bytes for what it does not know
};

struct TokenizerTraining {
  TokenizerKind kind = TokenizerKind::bpe;
  int64_t vocab_size = 0;            // all tokens together: special ones, bytes, learnt ones
  std::vector<std::string> special;  // after the kind's own: <|endoftext|> of bpe; <unk>, <s>, </s> of unigram
  int threads = 1;                   // unigram; the result does not depend on it
};

// Calls its argument with one text after the other.
using TextSource = std::function<void(const std::function<void(std::string_view text)>&)>;

struct TrainedTokenizer {
  std::string tokenizer_json, tokenizer_config_json;
  int64_t vocab_size = 0;  // fewer than asked for where the text does not yield more
  int64_t texts = 0, text_bytes = 0;
};

// bpe holds each distinct piece of the text once, unigram the whole text. Throws a caller Error for too small a
// vocabulary, for a special token that is empty or there twice, and for text without words.
TrainedTokenizer train_tokenizer(const TokenizerTraining& training, const TextSource& texts);

}  // namespace plimsoll
