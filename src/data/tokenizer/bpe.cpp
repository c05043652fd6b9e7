#include "data/tokenizer/bpe.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "data/tokenizer/hash.h"
#include "data/tokenizer/unicode.h"

namespace plimsoll::tokenizer {
namespace {

constexpr size_t kShortPiece = 32;  // symbols; below, scanning for the lowest rank beats a heap
constexpr uint32_t kNone = 0xffffffff;

}  // namespace

void MergeTable::reserve(size_t merges) { slots_.assign(merges + merges / 2 + 2, Slot{}); }

void MergeTable::add(int32_t left, int32_t right, uint32_t rank, int32_t merged) {
  const uint64_t key = key_of(left, right);
  uint64_t slot = slot_of(hash_pair(key), slots_.size());
  while (slots_[slot].key != kFree && slots_[slot].key != key) slot = slot + 1 == slots_.size() ? 0 : slot + 1;
  slots_[slot] = {key, rank, merged};
}

const MergeTable::Slot* MergeTable::find(int32_t left, int32_t right) const {
  const uint64_t key = key_of(left, right);
  uint64_t slot = slot_of(hash_pair(key), slots_.size());
  while (slots_[slot].key != key) {
    if (slots_[slot].key == kFree) return nullptr;
    slot = slot + 1 == slots_.size() ? 0 : slot + 1;
  }
  return &slots_[slot];
}

void BpeModel::prepare(const Vocabulary& vocabulary) {
  constexpr char kHex[] = "0123456789ABCDEF";
  every_byte_known = true;
  for (int byte = 0; byte < 256; ++byte) {
    std::string text;
    append_utf8(byte_to_char(static_cast<uint8_t>(byte)), text);
    const auto index = static_cast<size_t>(byte);
    byte_ids[index] = vocabulary.find(text);
    every_byte_known = every_byte_known && byte_ids[index] != kNoToken;
    fallback_ids[index] = vocabulary.find(std::string("<0x") + kHex[byte >> 4] + kHex[byte & 15] + ">");
  }
}

// The characters of a piece as ids: unknown ones as bytes, as the unknown token, or left out, in that order.
void BpeModel::split_symbols(const Vocabulary& vocabulary, std::string_view piece, std::vector<int32_t>& ids) const {
  bool unk_pending = false;
  std::string decorated;
  for (size_t at = 0; at < piece.size();) {
    const size_t begin = at;
    at += utf8_length(piece[at]);
    std::string_view text = piece.substr(begin, at - begin);
    const bool with_prefix = begin != 0 && !continuing_prefix.empty(),
               with_suffix = at == piece.size() && !end_of_word_suffix.empty();
    if (with_prefix || with_suffix) {
      decorated = with_prefix ? continuing_prefix : std::string();
      decorated += text;
      if (with_suffix) decorated += end_of_word_suffix;
      text = decorated;
    }
    const int32_t id = vocabulary.find(text);
    if (id != kNoToken) {
      if (unk_pending) ids.push_back(unk_id);
      unk_pending = false;
      ids.push_back(id);
      continue;
    }
    const auto fallback = [&](char byte) { return fallback_ids[static_cast<unsigned char>(byte)]; };
    if (byte_fallback && std::all_of(text.begin(), text.end(), [&](char byte) { return fallback(byte) != kNoToken; })) {
      for (const char byte : text) ids.push_back(fallback(byte));
      continue;
    }
    if (unk_id == kNoToken) continue;
    if (unk_pending && !fuse_unk) ids.push_back(unk_id);
    unk_pending = true;
  }
  if (unk_pending) ids.push_back(unk_id);
}

void BpeModel::merge_short(std::vector<int32_t>& ids) const {
  uint32_t ranks[kShortPiece];
  int32_t merged[kShortPiece];
  size_t count = ids.size();
  const auto look_up = [&](size_t i) {
    const MergeTable::Slot* slot = merges.find(ids[i], ids[i + 1]);
    ranks[i] = slot == nullptr ? kNone : slot->rank;
    merged[i] = slot == nullptr ? kNoToken : slot->merged;
  };
  for (size_t i = 0; i + 1 < count; ++i) look_up(i);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) best = ranks[i] < ranks[best] ? i : best;
    if (ranks[best] == kNone) break;
    ids[best] = merged[best];
    for (size_t i = best + 1; i + 1 < count; ++i) {
      ids[i] = ids[i + 1];
      ranks[i - 1] = ranks[i];
      merged[i - 1] = merged[i];
    }
    --count;
    if (best > 0) look_up(best - 1);
    if (best + 1 < count) look_up(best);
  }
  ids.resize(count);
}

void BpeModel::merge_long(BpeScratch& scratch) const {
  using Candidate = BpeScratch::Candidate;
  const auto later = [](const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
  };
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  const auto count = static_cast<uint32_t>(scratch.ids.size());
  symbols.resize(count);
  heap.clear();
  for (uint32_t i = 0; i < count; ++i)
    symbols[i] = {scratch.ids[i], i == 0 ? kNone : i - 1, i + 1 == count ? kNone : i + 1};
  const auto consider = [&](uint32_t left, uint32_t right) {
    const MergeTable::Slot* slot = merges.find(symbols[left].id, symbols[right].id);
    if (slot == nullptr) return false;
    heap.push_back({slot->rank, left, merges.index_of(slot)});
    return true;
  };
  for (uint32_t i = 0; i + 1 < count; ++i) consider(i, i + 1);
  std::make_heap(heap.begin(), heap.end(), later);
  while (!heap.empty()) {
    const Candidate best = heap.front();
    std::pop_heap(heap.begin(), heap.end(), later);
    heap.pop_back();
    BpeScratch::Symbol& left = symbols[best.at];
    const MergeTable::Slot& slot = merges.at(best.slot);
    if (left.id == kNoToken || left.next == kNone || MergeTable::key_of(left.id, symbols[left.next].id) != slot.key)
      continue;
    BpeScratch::Symbol& right = symbols[left.next];
    left.id = slot.merged;
    right.id = kNoToken;
    left.next = right.next;
    if (left.next != kNone) {
      symbols[left.next].previous = best.at;
      if (consider(best.at, left.next)) std::push_heap(heap.begin(), heap.end(), later);
    }
    if (left.previous != kNone && consider(left.previous, best.at)) std::push_heap(heap.begin(), heap.end(), later);
  }
  scratch.ids.clear();
  for (uint32_t i = 0; i != kNone; i = symbols[i].next) scratch.ids.push_back(symbols[i].id);
}

void BpeModel::encode(const Vocabulary& vocabulary, std::string_view piece, BpeScratch& scratch,
                      std::vector<int32_t>& out) const {
  BpeScratch::Cached* cached = nullptr;
  if (piece.size() <= BpeScratch::kCacheTextBytes) {
    if (scratch.cache.empty()) scratch.cache.resize(BpeScratch::kCacheSlots);
    cached = &scratch.cache[hash_bytes(piece) % BpeScratch::kCacheSlots];
    if (cached->text_bytes == piece.size() && std::memcmp(cached->text, piece.data(), piece.size()) == 0) {
      out.insert(out.end(), cached->id, cached->id + cached->ids);
      return;
    }
  }
  std::vector<int32_t>& ids = scratch.ids;
  ids.clear();
  const bool plain_bytes = bytes_in && every_byte_known && continuing_prefix.empty() && end_of_word_suffix.empty();
  std::string_view text = piece;
  if (bytes_in && (!plain_bytes || (ignore_merges && piece.size() <= vocabulary.longest_bytes()))) {
    scratch.chars.clear();
    append_byte_chars(piece, scratch.chars);
    text = scratch.chars;
  }
  const int32_t whole = ignore_merges && text.size() <= vocabulary.longest_bytes() ? vocabulary.find(text) : kNoToken;
  if (whole != kNoToken) {
    ids.push_back(whole);
  } else {
    if (plain_bytes) {
      for (const char byte : piece) ids.push_back(byte_ids[static_cast<unsigned char>(byte)]);
    } else {
      split_symbols(vocabulary, text, ids);
    }
    if (ids.size() > kShortPiece) merge_long(scratch);
    else if (ids.size() > 1) merge_short(ids);
  }
  out.insert(out.end(), ids.begin(), ids.end());
  if (cached != nullptr && ids.size() <= BpeScratch::kCacheIds) {
    cached->text_bytes = static_cast<uint8_t>(piece.size());
    cached->ids = static_cast<uint8_t>(ids.size());
    std::memcpy(cached->text, piece.data(), piece.size());
    std::copy(ids.begin(), ids.end(), cached->id);
  }
}

}  // namespace plimsoll::tokenizer
