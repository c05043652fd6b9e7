// Which special tokens stand around one text or a pair of texts.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "data/tokenizer/files/json_fields.h"
#include "data/tokenizer/tokenizer.h"

namespace plimsoll::tokenizer {

struct TemplatePiece {
  static constexpr int32_t kFirst = -1, kSecond = -2;
  int32_t id;       // a special token, or kFirst, kSecond: the text
  int32_t type_id;  // of its tokens
};

struct PostProcessor {
  std::vector<TemplatePiece> single{{TemplatePiece::kFirst, 0}};
  std::vector<TemplatePiece> pair{{TemplatePiece::kFirst, 0}, {TemplatePiece::kSecond, 1}};
};

// `section` may be null. Ids are those the file states; `end_id` bounds them.
PostProcessor parse_post_processor(const JsonSection& section, int32_t end_id);

// BOS before and EOS after each text. A caller Error where one is asked for that `special` does not name.
PostProcessor surround_with(const SpecialIds& special, bool add_bos, bool add_eos, std::string_view source);

}  // namespace plimsoll::tokenizer
