#include "data/tokenizer/vocabulary.h"

#include <algorithm>

#include "base/error.h"
#include "data/tokenizer/hash.h"

namespace plimsoll::tokenizer {

void Vocabulary::reserve(size_t tokens, size_t text_bytes) {
  pool_.reserve(std::min(text_bytes + 2 * tokens, kMaxPoolBytes));
  offsets_.reserve(tokens);
  slots_.assign(tokens + tokens / 2 + 2, kEmpty);
}

std::string_view Vocabulary::text_at(uint32_t offset) const {
  const auto* at = reinterpret_cast<const unsigned char*>(pool_.data()) + offset;
  return {pool_.data() + offset + 2, static_cast<size_t>(at[0] | (at[1] << 8))};
}

Vocabulary::Added Vocabulary::add(std::string_view text, int32_t id) {
  PLIMSOLL_CHECK(static_cast<size_t>(count_) + 1 < slots_.size(), "more tokens than reserved");
  if (text.size() > kMaxTokenBytes || pool_.size() + text.size() + 2 > kMaxPoolBytes) return Added::too_long;
  if (has(id)) return Added::id_taken;
  const auto index = static_cast<size_t>(id);
  if (index >= offsets_.size()) offsets_.resize(index + 1, kEmpty);
  offsets_[index] = static_cast<uint32_t>(pool_.size());
  pool_ += static_cast<char>(text.size() & 0xff);
  pool_ += static_cast<char>(text.size() >> 8);
  pool_ += text;
  longest_bytes_ = std::max(longest_bytes_, text.size());
  ++count_;
  uint64_t slot = slot_of(hash_bytes(text), slots_.size());
  while (slots_[slot] != kEmpty && text_at(offsets_[slots_[slot]]) != text)
    slot = slot + 1 == slots_.size() ? 0 : slot + 1;
  slots_[slot] = static_cast<uint32_t>(id);
  return Added::yes;
}

void Vocabulary::shrink() {
  pool_.shrink_to_fit();
  offsets_.shrink_to_fit();
}

int32_t Vocabulary::find(std::string_view text) const {
  if (slots_.empty()) return kNoToken;
  uint64_t slot = slot_of(hash_bytes(text), slots_.size());
  while (slots_[slot] != kEmpty) {
    if (text_at(offsets_[slots_[slot]]) == text) return static_cast<int32_t>(slots_[slot]);
    slot = slot + 1 == slots_.size() ? 0 : slot + 1;
  }
  return kNoToken;
}

bool Vocabulary::has(int32_t id) const {
  return id >= 0 && static_cast<size_t>(id) < offsets_.size() && offsets_[static_cast<size_t>(id)] != kEmpty;
}

std::string_view Vocabulary::text(int32_t id) const {
  return has(id) ? text_at(offsets_[static_cast<size_t>(id)]) : std::string_view();
}

int64_t Vocabulary::resident_bytes() const {
  return static_cast<int64_t>(pool_.capacity() + 4 * (offsets_.capacity() + slots_.capacity()));
}

}  // namespace plimsoll::tokenizer
