#include "data/tokenizer/trie.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace plimsoll::tokenizer {

Trie::Trie(std::vector<std::pair<std::string_view, int32_t>> entries, std::string_view source) {
  std::erase_if(entries, [](const auto& entry) { return entry.first.empty(); });
  std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  struct Range {  // of entries below a node
    uint32_t begin, end, depth;
  };
  std::vector<Range> ranges{{0, static_cast<uint32_t>(entries.size()), 0}};
  labels_.push_back(0);
  for (size_t node = 0; node < ranges.size(); ++node) {
    const Range range = ranges[node];
    first_child_.push_back(static_cast<uint32_t>(labels_.size()));
    int32_t value = -1;
    uint32_t at = range.begin;
    for (; at < range.end && entries[at].first.size() == range.depth; ++at) value = entries[at].second;
    values_.push_back(value);
    while (at < range.end) {
      const char label = entries[at].first[range.depth];
      uint32_t end = at;
      while (end < range.end && entries[end].first[range.depth] == label) ++end;
      labels_.push_back(static_cast<uint8_t>(label));
      if (node == 0) first_[static_cast<unsigned char>(label)] = true;
      ranges.push_back({at, end, range.depth + 1});
      at = end;
    }
    if (static_cast<int64_t>(labels_.size()) > kMaxNodes) {
      throw caller_error(std::string(source),
                         "its tokens together are longer than " + std::to_string(kMaxNodes) + " bytes",
                         "use the tokenizer of a published model");
    }
  }
  first_child_.push_back(static_cast<uint32_t>(labels_.size()));
  labels_.shrink_to_fit();
  values_.shrink_to_fit();
  first_child_.shrink_to_fit();
}

}  // namespace plimsoll::tokenizer
