#include "data/tokenizer_training/bpe_trainer.h"

#include <algorithm>
#include <map>
#include <queue>
#include <unordered_set>

#include "data/tokenizer/unicode.h"

namespace plimsoll::tokenizer {
namespace {

using Pair = std::pair<int32_t, int32_t>;

// Runs of one character would double with every merge, beyond what a token may be.
constexpr size_t kMaxLearntBytes = 1024;

struct PairHash {
  size_t operator()(const Pair& pair) const {
    return static_cast<size_t>(static_cast<uint32_t>(pair.first)) * 0x9e3779b97f4a7c15U ^
           static_cast<size_t>(static_cast<uint32_t>(pair.second)) * 0xc2b2ae3d27d4eb4fU;
  }
};

struct Candidate {
  Pair pair;
  int64_t count;
  bool operator<(const Candidate& other) const {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

class Merger {
 public:
  Merger(const BpeTrainer::Words& words, const std::vector<std::string>& special) {
    for (const std::string& token : special) id_of(token);
    // In the order of their characters, as the library's alphabet is.
    std::map<char32_t, std::string> alphabet;
    for (int byte = 0; byte < 256; ++byte) {
      const char32_t character = byte_to_char(static_cast<uint8_t>(byte));
      append_utf8(character, alphabet[character]);
    }
    for (const auto& [character, text] : alphabet) id_of(text);
    for (const auto& [text, count] : words) add_word(text, count);
    for (const auto& [pair, count] : counts_) queue_.push({pair, count});
  }

  // Merges the best pair; false when there is none.
  bool step() {
    while (!queue_.empty()) {
      const Candidate best = queue_.top();
      queue_.pop();
      const int64_t now = counts_[best.pair];
      if (now != best.count) {  // it changed since; back to its new place
        if (now > 0) queue_.push({best.pair, now});
        continue;
      }
      if (bytes_of(best.pair) > kMaxLearntBytes) continue;
      merge(best.pair);
      return true;
    }
    return false;
  }

  int64_t size() const { return static_cast<int64_t>(result_.tokens.size()); }
  BpeVocabulary take() { return std::move(result_); }

 private:
  size_t bytes_of(Pair pair) const {
    return result_.tokens[static_cast<size_t>(pair.first)].size() +
           result_.tokens[static_cast<size_t>(pair.second)].size();
  }

  struct Word {
    std::vector<int32_t> ids;
    int64_t count;
  };

  int32_t id_of(const std::string& text) {
    const auto [at, is_new] = ids_.try_emplace(text, static_cast<int32_t>(result_.tokens.size()));
    if (is_new) result_.tokens.push_back(text);
    return at->second;
  }

  void add_word(const std::string& text, int64_t count) {
    Word word{{}, count};
    for (size_t at = 0; at < text.size();) {
      const size_t length = utf8_length(text[at]);
      word.ids.push_back(ids_.at(text.substr(at, length)));
      at += length;
    }
    for (size_t i = 0; i + 1 < word.ids.size(); ++i) change({word.ids[i], word.ids[i + 1]}, count, words_.size());
    words_.push_back(std::move(word));
  }

  void change(Pair pair, int64_t by, size_t word) {
    counts_[pair] += by;
    if (by > 0) where_[pair].insert(word);
  }

  void merge(Pair pair) {
    const std::string left = result_.tokens[static_cast<size_t>(pair.first)];
    const std::string right = result_.tokens[static_cast<size_t>(pair.second)];
    const int32_t merged = id_of(left + right);
    result_.merges.emplace_back(left, right);
    std::unordered_set<Pair, PairHash> grown;
    const std::unordered_set<size_t> where = std::move(where_[pair]);
    where_.erase(pair);
    for (const size_t index : where) merge_in(index, pair, merged, grown);
    counts_[pair] = 0;
    for (const Pair& other : grown)
      if (counts_[other] > 0) queue_.push({other, counts_[other]});
  }

  void merge_in(size_t index, Pair pair, int32_t merged, std::unordered_set<Pair, PairHash>& grown) {
    Word& word = words_[index];
    std::vector<int32_t>& ids = word.ids;
    size_t kept = 0;
    for (size_t i = 0; i < ids.size(); ++i, ++kept) {
      ids[kept] = ids[i];
      if (i + 1 == ids.size() || ids[i] != pair.first || ids[i + 1] != pair.second) continue;
      if (kept > 0) {
        change({ids[kept - 1], pair.first}, -word.count, index);
        change({ids[kept - 1], merged}, word.count, index);
        grown.insert({ids[kept - 1], merged});
      }
      if (i + 2 < ids.size()) {
        change({pair.second, ids[i + 2]}, -word.count, index);
        change({merged, ids[i + 2]}, word.count, index);
        grown.insert({merged, ids[i + 2]});
      }
      ids[kept] = merged;
      ++i;
    }
    ids.resize(kept);
  }

  BpeVocabulary result_;
  std::unordered_map<std::string, int32_t> ids_;
  std::vector<Word> words_;
  std::unordered_map<Pair, int64_t, PairHash> counts_;
  std::unordered_map<Pair, std::unordered_set<size_t>, PairHash> where_;  // words that (may) hold the pair
  std::priority_queue<Candidate> queue_;
};

}  // namespace

BpeVocabulary BpeTrainer::train(const Words& words, const std::vector<std::string>& special, int64_t vocab_size) {
  Merger merger(words, special);
  while (merger.size() < vocab_size && merger.step()) {
  }
  return merger.take();
}

}  // namespace plimsoll::tokenizer
