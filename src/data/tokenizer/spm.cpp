#include "data/tokenizer/spm.h"

#include <algorithm>
#include <string>

#include "data/tokenizer/unicode.h"

namespace plimsoll::tokenizer {
namespace {

constexpr uint32_t kNone = 0xffffffff;

}  // namespace

void SpmModel::prepare(const Vocabulary& vocabulary) {
  constexpr char kHex[] = "0123456789ABCDEF";
  for (int byte = 0; byte < 256; ++byte) {
    fallback_ids[static_cast<size_t>(byte)] =
        vocabulary.find(std::string("<0x") + kHex[byte >> 4] + kHex[byte & 15] + ">");
  }
}

void SpmModel::encode(const Vocabulary& vocabulary, std::string_view piece, SpmScratch& scratch,
                      std::vector<int32_t>& out) const {
  using Candidate = SpmScratch::Candidate;
  const auto later = [](const Candidate& a, const Candidate& b) {
    return a.score != b.score ? a.score < b.score : a.at > b.at;
  };
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  symbols.clear();
  heap.clear();
  for (size_t at = 0; at < piece.size();) {
    const size_t bytes = utf8_length(piece[at]);
    const auto index = static_cast<uint32_t>(symbols.size());
    symbols.push_back(
        {static_cast<uint32_t>(at), static_cast<uint32_t>(bytes), index == 0 ? kNone : index - 1, index + 1});
    at += bytes;
  }
  if (symbols.empty()) return;
  symbols.back().next = kNone;
  const auto consider = [&](uint32_t left, uint32_t right) {
    const uint32_t bytes = symbols[left].bytes + symbols[right].bytes;
    if (bytes > vocabulary.longest_bytes()) return false;
    const int32_t id = vocabulary.find(piece.substr(symbols[left].begin, bytes));
    if (id == kNoToken) return false;
    heap.push_back({scores[static_cast<size_t>(id)], left, bytes});
    return true;
  };
  for (uint32_t i = 0; i + 1 < symbols.size(); ++i) consider(i, i + 1);
  std::make_heap(heap.begin(), heap.end(), later);
  while (!heap.empty()) {
    const Candidate best = heap.front();
    std::pop_heap(heap.begin(), heap.end(), later);
    heap.pop_back();
    SpmScratch::Symbol& left = symbols[best.at];
    if (left.bytes == 0 || left.next == kNone || left.bytes + symbols[left.next].bytes != best.bytes) continue;
    SpmScratch::Symbol& right = symbols[left.next];
    left.bytes = best.bytes;
    right.bytes = 0;
    left.next = right.next;
    if (left.next != kNone) {
      symbols[left.next].previous = best.at;
      if (consider(best.at, left.next)) std::push_heap(heap.begin(), heap.end(), later);
    }
    if (left.previous != kNone && consider(left.previous, best.at)) std::push_heap(heap.begin(), heap.end(), later);
  }
  for (uint32_t i = 0; i != kNone; i = symbols[i].next) {
    const std::string_view text = piece.substr(symbols[i].begin, symbols[i].bytes);
    const int32_t id = vocabulary.find(text);
    const auto fallback = [&](char byte) { return fallback_ids[static_cast<unsigned char>(byte)]; };
    if (id != kNoToken) {
      out.push_back(id);
    } else if (std::all_of(text.begin(), text.end(), [&](char byte) { return fallback(byte) != kNoToken; })) {
      for (const char byte : text) out.push_back(fallback(byte));
    } else if (unk_id != kNoToken) {
      out.push_back(unk_id);
    }
  }
}

}  // namespace plimsoll::tokenizer
