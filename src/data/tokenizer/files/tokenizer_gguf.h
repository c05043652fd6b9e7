// A tokenizer out of GGUF metadata (`tokenizer.ggml.*`), https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer/tokenizer.h"

namespace plimsoll {

// An array of texts wherever it lies: `at(i)` for 0 ≤ i < count. The views need live only until the next call.
struct TextColumn {
  int64_t count = 0;
  std::function<std::string_view(int64_t)> at;
};

enum class GgufTokenType : int32_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

// The metadata of the same names; what the file does not say stays empty.
struct GgufVocabulary {
  std::string model;  // "gpt2": byte-level BPE; "llama": SentencePiece-style BPE by scores
  std::string pre;    // names the splitting patterns of "gpt2"
  TextColumn tokens, merges;
  std::span<const int32_t> token_types;  // GgufTokenType; empty: all normal
  std::span<const float> scores;
  std::optional<int64_t> bos_id, eos_id, pad_id, unk_id;
  std::optional<bool> add_bos, add_eos, add_space_prefix;
};

// Throws a caller Error for an unknown model or pre, and for tables that do not fit each other. Control, unknown and
// user-defined tokens are recognised in texts (leftmost, longest first).
Tokenizer load_tokenizer_gguf(const GgufVocabulary& vocabulary, std::string_view source);

// The ids that the file names, or SentencePiece's usual ones for "llama". Throws a caller Error for an unknown model,
// for no or too many tokens, and for an id that is none of them.
SpecialIds gguf_special_ids(const GgufVocabulary& vocabulary, std::string_view source);

constexpr bool is_gguf_special(GgufTokenType type) {  // left out by decode with skip_special
  return type == GgufTokenType::control || type == GgufTokenType::unknown;
}

// How a `pre` name splits: as the tokenizer.json of the models that it was made for. nullptr: not known to us.
struct GgufSplitting {
  std::string_view name;
  std::span<const std::string_view> regexes;  // applied one after another
  bool ignore_merges = false;
  bool add_bos = false;  // where the file does not say
  bool nfc = false;
};
const GgufSplitting* find_gguf_splitting(std::string_view pre);
std::vector<std::string_view> gguf_splitting_names();
// The one of `vocabulary`, or a caller Error.
const GgufSplitting& gguf_splitting(const GgufVocabulary& vocabulary, std::string_view source);

}  // namespace plimsoll
