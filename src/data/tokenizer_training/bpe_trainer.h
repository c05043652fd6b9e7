// Byte-pair merges learnt from text (Sennrich et al. 2016, arXiv:1508.07909), on bytes as GPT-2 has them. The result is
// that of the tokenizers library's BpeTrainer with the byte-level alphabet and min_frequency 1: the pair that occurs
// most often merges next, of equal ones the pair whose ids are smaller. Tokens stay within 1 KiB.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace plimsoll::tokenizer {

struct BpeVocabulary {
  std::vector<std::string> tokens;                          // by id: special ones, the 256 bytes, merged ones
  std::vector<std::pair<std::string, std::string>> merges;  // in order
};

class BpeTrainer {
 public:
  // `words`: how often each piece of text stands in the corpus, spelled in GPT-2's characters for bytes.
  using Words = std::unordered_map<std::string, int64_t>;

  // Fewer than `vocab_size` tokens come out where no pair is left that occurs twice or more apart from its words' ends.
  static BpeVocabulary train(const Words& words, const std::vector<std::string>& special, int64_t vocab_size);
};

}  // namespace plimsoll::tokenizer
