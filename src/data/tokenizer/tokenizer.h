// Text to token ids and back, for the tokenizers of published language models: byte-level BPE, SentencePiece-style BPE
// and Unigram, from tokenizer.json (Hugging Face), a SentencePiece model or GGUF metadata. The ids are those of the
// tokenizers library, of SentencePiece's own, or of llama.cpp.
//
// Limits, each a caller Error: ids up to 4,194,303; 65,535 bytes a token (4,096 an added one); 1 GiB of token texts and
// of text to encode; sections of tokenizer.json nested 16 deep and 8 MiB long; 64 steps a section; 50 million
// backtracking steps of one search of a splitting pattern.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace plimsoll {

namespace tokenizer {
struct TokenizerParts;
class ScratchPool;
}  // namespace tokenizer

// What a text means that spells a special token ("<|im_end|>"): the token, or its letters, as untrusted text should.
enum class SpecialText { token, plain };

// Ids, -1 where there is none or it is not known.
struct SpecialIds {
  int32_t bos = -1, eos = -1, pad = -1, unk = -1;
};

struct PairEncoding {
  std::vector<int32_t> ids;
  std::vector<int32_t> type_ids;  // as many
};

// What tokenizer_config.json says beside the tokenizer itself (its chat template: data/chat_template.h). Empty strings
// and nullopt: not said.
struct TokenizerConfig {
  std::string bos_token, eos_token, pad_token, unk_token;
  std::optional<bool> add_bos_token, add_eos_token;
  std::optional<bool> legacy;  // SentencePiece: a space also before what follows a special token
  struct Added {
    int64_t id;
    std::string content;
    bool special, lstrip, rstrip, single_word, normalized;
  };
  std::vector<Added> added_tokens;  // added_tokens_decoder
};

TokenizerConfig parse_tokenizer_config(std::string_view json, std::string_view source);

// Immutable after load; every method may be called by any number of threads at once. Each thread that encodes borrows
// buffers with a cache of pieces (about 0.6 MB, up to kKeptScratches are kept); a piece that no rule splits takes about
// 28 bytes of buffers per byte while it is encoded, and buffers beyond 1 MiB are given back.
class Tokenizer {
 public:
  static constexpr size_t kMaxTextBytes = size_t{1} << 30;
  static constexpr size_t kKeptScratches = 4;

  explicit Tokenizer(std::unique_ptr<const tokenizer::TokenizerParts> parts);  // for the loaders
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // `add_special` adds what the template puts around a text (BOS, EOS). Bytes that are not UTF-8 count as U+FFFD.
  std::vector<int32_t> encode(std::string_view text, bool add_special,
                              SpecialText special_text = SpecialText::token) const;
  PairEncoding encode_pair(std::string_view first, std::string_view second, bool add_special) const;

  // Ids outside the vocabulary are left out. The result is valid UTF-8.
  std::string decode(std::span<const int32_t> ids, bool skip_special) const;

  std::optional<int32_t> id_of(std::string_view token) const;  // by its text in the vocabulary, "Ġthe"
  std::string_view token_text(int32_t id) const;               // empty for an unknown id
  bool is_special(int32_t id) const;
  int32_t vocab_size() const;  // one past the largest id
  const SpecialIds& special_ids() const;
  int64_t resident_bytes() const;  // tables only, without scratch

 private:
  void encode_into(std::string_view text, SpecialText special_text, std::vector<int32_t>& ids) const;

  std::unique_ptr<const tokenizer::TokenizerParts> parts_;
  std::unique_ptr<tokenizer::ScratchPool> scratches_;
};

// Decodes ids one by one and gives text as soon as whole characters are there. The texts together are what decode()
// gives for all ids. One stream a thread; the tokenizer must outlive it.
class StreamDecoder {
 public:
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special) : tokenizer_(&tokenizer), skip_special_(skip_special) {}

  std::string put(int32_t id);  // may be empty
  std::string finish();         // what is left, with U+FFFD for incomplete characters

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::vector<int32_t> ids_;  // since the last but one text given
  size_t given_ids_ = 0;      // the first of ids_, whose text was given
  std::string given_text_;    // decode() of these
};

// `config` completes the added tokens and names the special ones. `source` names the file in errors. Throws a caller
// Error for anything that is wrong with the file or that we do not support.
Tokenizer load_tokenizer_json(std::string_view json, std::string_view source, const TokenizerConfig* config = nullptr);

// The bytes of a SentencePiece file. Special tokens are its control pieces and those of `config`; BOS and EOS are added
// only where `config` says so, as transformers 5 does.
Tokenizer load_tokenizer_sentencepiece(std::string_view bytes, std::string_view source,
                                       const TokenizerConfig* config = nullptr);

// A tokenizer.json, or a SentencePiece file (NAME.model), with tokenizer_config.json beside it where there is one. The
// file's bytes are held only during the call, which takes about the file's size and the tables' beside it.
Tokenizer load_tokenizer_file(const std::string& path);

}  // namespace plimsoll
