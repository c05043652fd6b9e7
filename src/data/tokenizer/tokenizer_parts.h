// What a Tokenizer is made of, and the buffers of one thread. Inside data/tokenizer only.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <variant>
#include <vector>

#include "data/tokenizer/added_tokens.h"
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/decoder.h"
#include "data/tokenizer/files/sentencepiece_model.h"
#include "data/tokenizer/normalizer.h"
#include "data/tokenizer/post_processor.h"
#include "data/tokenizer/pre_tokenizer.h"
#include "data/tokenizer/spm.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/unigram.h"
#include "data/tokenizer/vocabulary.h"

namespace plimsoll::tokenizer {

struct TokenizerParts {
  Vocabulary vocabulary;
  std::variant<BpeModel, UnigramModel, SpmModel, SentencePieceModel> model;
  AddedTokens added;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  PostProcessor post_processor;
  Decoder decoder;
  SpecialIds special;
};

// Normalizes the contents that need it and builds the tables of added tokens.
AddedTokens build_added_tokens(std::vector<AddedToken> tokens, const Normalizer& normalizer, std::string_view source);

struct EncodeScratch {
  RegexScratch regex;
  NormalizerScratch normalizer;
  PreTokenizerScratch pre_tokenizer;
  BpeScratch bpe;
  UnigramScratch unigram;
  SpmScratch spm;

  void release_large();  // what one long text needed
};

class ScratchPool {
 public:
  std::unique_ptr<EncodeScratch> take();
  void give(std::unique_ptr<EncodeScratch> scratch) noexcept;

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<EncodeScratch>> free_;
};

}  // namespace plimsoll::tokenizer
