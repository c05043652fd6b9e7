#include "data/tokenizer/files/sentencepiece_check.h"

#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

namespace plimsoll::tokenizer {
namespace {

// Protocol buffers' wire format: a key (number · 8 + type), then a value
// (https://protobuf.dev/programming-guides/encoding).
struct Field {
  uint64_t number = 0;
  std::string_view bytes;  // of a length-delimited one; else empty
};

std::optional<uint64_t> take_varint(std::string_view& in) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && !in.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(in.front());
    in.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}

std::optional<Field> take_field(std::string_view& in) {
  const std::optional<uint64_t> key = take_varint(in);
  if (!key) return std::nullopt;
  Field field{*key >> 3, {}};
  uint64_t size = 0;
  switch (*key & 7) {
    case 0:
      return take_varint(in) ? std::optional(field) : std::nullopt;
    case 1:
      size = 8;
      break;
    case 2:
      if (const auto length = take_varint(in)) size = *length;
      else return std::nullopt;
      break;
    case 5:
      size = 4;
      break;
    default:
      return std::nullopt;
  }
  if (size > in.size()) return std::nullopt;
  if ((*key & 7) == 2) field.bytes = in.substr(0, size);
  in.remove_prefix(size);
  return field;
}

// Darts-clone's units, as in charsmap.cpp: label, leaf flag, offset.
uint32_t label_of(uint32_t unit) { return unit & 0x800000ff; }
size_t offset_of(uint32_t unit) { return static_cast<size_t>(unit >> 10) << ((unit & (1u << 9)) >> 6); }
bool has_leaf(uint32_t unit) { return ((unit >> 8) & 1) != 0; }

// Every place that some text can lead to, each once. A place is where a node's children begin: they stand at it xor'ed
// with their byte.
bool trie_is_sound(const std::vector<uint32_t>& units, size_t string_bytes) {
  if (units.empty()) return false;
  std::vector<bool> seen(units.size(), false);
  std::vector<size_t> open = {offset_of(units[0])};
  while (!open.empty()) {
    const size_t place = open.back();
    open.pop_back();
    if ((place | 0xff) >= units.size()) return false;
    if (seen[place]) continue;
    seen[place] = true;
    for (size_t byte = 0; byte < 256; ++byte) {
      const size_t at = place ^ byte;
      if (label_of(units[at]) != byte) continue;
      const size_t next = at ^ offset_of(units[at]);
      if (has_leaf(units[at]) && (next >= units.size() || (units[next] & 0x7fffffff) >= string_bytes)) return false;
      if (byte != 0) open.push_back(next);
    }
  }
  return true;
}

bool charsmap_is_sound(std::string_view map) {
  if (map.empty()) return true;
  uint32_t trie_bytes = 0;
  if (map.size() < 4) return false;
  std::memcpy(&trie_bytes, map.data(), 4);
  if (trie_bytes % 4 != 0 || trie_bytes >= map.size() - 4 || map.back() != '\0') return false;
  std::vector<uint32_t> units(trie_bytes / 4);
  std::memcpy(units.data(), map.data() + 4, trie_bytes);
  return trie_is_sound(units, map.size() - 4 - trie_bytes);
}

}  // namespace

bool character_maps_are_sound(std::string_view bytes) {
  constexpr uint64_t kNormalizer = 3, kDenormalizer = 5, kCharsmap = 2;
  while (!bytes.empty()) {
    const std::optional<Field> field = take_field(bytes);
    if (!field) return false;
    if (field->number != kNormalizer && field->number != kDenormalizer) continue;
    for (std::string_view inner = field->bytes; !inner.empty();) {
      const std::optional<Field> part = take_field(inner);
      if (!part || (part->number == kCharsmap && !charsmap_is_sound(part->bytes))) return false;
    }
  }
  return true;
}

}  // namespace plimsoll::tokenizer
