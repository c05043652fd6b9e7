// A compact byte trie over token texts, for "which tokens start here" (added tokens, Unigram). 9 bytes a node.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

namespace plimsoll::tokenizer {

class Trie {
 public:
  static constexpr int64_t kMaxNodes = int64_t{1} << 27;

  Trie() = default;
  // `entries`: text and a value ≥ 0, in any order; the texts need live only during the call. Of equal texts the last
  // entry's value holds. Empty texts are ignored. Throws a caller Error naming `source` beyond kMaxNodes.
  Trie(std::vector<std::pair<std::string_view, int32_t>> entries, std::string_view source);

  bool empty() const { return labels_.size() <= 1; }
  bool starts_with_any(char byte) const { return first_[static_cast<unsigned char>(byte)]; }

  // Calls visit(length, value) for every entry that is a prefix of `text`, shortest first.
  template <typename Visit>
  void prefixes(std::string_view text, Visit&& visit) const {
    if (empty()) return;
    uint32_t node = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      const uint32_t begin = first_child_[node], end = first_child_[node + 1];
      const void* found =
          end == begin ? nullptr : std::memchr(&labels_[begin], static_cast<unsigned char>(text[i]), end - begin);
      if (found == nullptr) return;
      node = static_cast<uint32_t>(static_cast<const uint8_t*>(found) - labels_.data());
      if (values_[node] >= 0) visit(i + 1, values_[node]);
    }
  }

  int64_t resident_bytes() const {
    return static_cast<int64_t>(labels_.capacity() + 4 * (values_.capacity() + first_child_.capacity()));
  }

 private:
  // Nodes in breadth-first order, so that the children of a node are neighbours. first_child_ has one more entry.
  std::vector<uint8_t> labels_;
  std::vector<int32_t> values_;
  std::vector<uint32_t> first_child_;
  bool first_[256] = {};
};

}  // namespace plimsoll::tokenizer
