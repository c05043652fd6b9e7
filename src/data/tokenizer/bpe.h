// Byte pair encoding (Sennrich et al. 2016, arXiv:1508.07909): merges by rank. n log n in the length of a piece.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer/vocabulary.h"

namespace plimsoll::tokenizer {

// (left id, right id) → rank and the merged id, in one open-addressing table of 16 bytes a slot.
class MergeTable {
 public:
  struct Slot {
    uint64_t key = kFree;
    uint32_t rank = 0;
    int32_t merged = -1;
  };
  static constexpr uint64_t kFree = ~uint64_t{0};
  static uint64_t key_of(int32_t left, int32_t right) {
    return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
  }

  void reserve(size_t merges);  // once, before add(); at most that many add()s
  void add(int32_t left, int32_t right, uint32_t rank,
           int32_t merged);  // a pair that is there already takes the later rank
  const Slot* find(int32_t left, int32_t right) const;
  const Slot& at(uint32_t index) const { return slots_[index]; }
  uint32_t index_of(const Slot* slot) const { return static_cast<uint32_t>(slot - slots_.data()); }
  int64_t resident_bytes() const { return static_cast<int64_t>(slots_.capacity() * sizeof(Slot)); }

 private:
  std::vector<Slot> slots_;
};

// One thread's buffers and its cache of pieces. The cache has a fixed size, kCacheSlots × 64 bytes, made on first use.
struct BpeScratch {
  static constexpr size_t kCacheSlots = 8192, kCacheTextBytes = 30, kCacheIds = 8;
  struct Cached {
    uint8_t text_bytes = 0, ids = 0;  // text_bytes 0: free
    char text[kCacheTextBytes];
    int32_t id[kCacheIds];
  };
  struct Symbol {
    int32_t id;
    uint32_t previous, next;
  };
  struct Candidate {
    uint32_t rank, at, slot;
  };
  std::vector<Cached> cache;
  std::vector<int32_t> ids;
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
  std::string chars;
};

struct BpeModel {
  MergeTable merges;
  int32_t unk_id = kNoToken;
  bool fuse_unk = false, byte_fallback = false, ignore_merges = false;
  std::string continuing_prefix, end_of_word_suffix;
  bool bytes_in = false;  // pieces are raw bytes that stand for their printable characters
  // Derived by prepare(): the id of a byte's printable character, and of its <0xXX> token.
  std::array<int32_t, 256> byte_ids{}, fallback_ids{};
  bool every_byte_known = false;

  void prepare(const Vocabulary& vocabulary);
  // Appends the ids of one piece. Thread-safe with one scratch a thread.
  void encode(const Vocabulary& vocabulary, std::string_view piece, BpeScratch& scratch,
              std::vector<int32_t>& out) const;

 private:
  void split_symbols(const Vocabulary& vocabulary, std::string_view piece, std::vector<int32_t>& ids) const;
  void merge_short(std::vector<int32_t>& ids) const;
  void merge_long(BpeScratch& scratch) const;
};

}  // namespace plimsoll::tokenizer
