// Token texts and ids: one string pool and one open-addressing table of ids, about 20 bytes a token with its text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace plimsoll::tokenizer {

inline constexpr int32_t kNoToken = -1;
inline constexpr int64_t kMaxTokenId = (int64_t{1} << 22) - 1;  // 4,194,303
inline constexpr size_t kMaxTokenBytes = 65535;
inline constexpr size_t kMaxPoolBytes = size_t{1} << 30;

// Filled once by the loader, then read by any number of threads.
class Vocabulary {
 public:
  // Call once, before add(). `tokens` sizes the table: at most that many add()s may follow. `text_bytes` only reserves.
  void reserve(size_t tokens, size_t text_bytes);

  enum class Added { yes, id_taken, too_long };
  // A text that is there already keeps both ids' texts and answers with the newer id. Requires 0 ≤ id ≤ kMaxTokenId.
  Added add(std::string_view text, int32_t id);
  void shrink();

  int32_t find(std::string_view text) const;  // kNoToken when absent
  std::string_view text(int32_t id) const;    // empty when there is none
  bool has(int32_t id) const;
  int32_t end_id() const { return static_cast<int32_t>(offsets_.size()); }  // one past the largest id
  int32_t count() const { return count_; }
  size_t longest_bytes() const { return longest_bytes_; }
  int64_t resident_bytes() const;

 private:
  static constexpr uint32_t kEmpty = 0xffffffff;

  std::string_view text_at(uint32_t offset) const;

  std::string pool_;               // per token: two bytes of length, then the text
  std::vector<uint32_t> offsets_;  // by id, into pool_; kEmpty: no such id
  std::vector<uint32_t> slots_;    // ids by hash of their text; kEmpty: free
  int32_t count_ = 0;
  size_t longest_bytes_ = 0;
};

}  // namespace plimsoll::tokenizer
