// Which bytes of a text each of its tokens stands for.
#pragma once

#include <string_view>
#include <vector>

#include "data/chat_template.h"
#include "data/dataset.h"
#include "data/tokenizer/tokenizer.h"

namespace plimsoll {

// The ids of encode(), each with its bytes of `text`. Tokens that hold parts of one character all have the bytes of that
// character; a token that was added around the text has an empty range. Found by decoding id by id along the text, so
// that any tokenizer will do; where it has changed the text (case, normal form, spaces), what means the same is matched.
// Throws a caller Error where the text cannot be followed.
EncodedText encode_with_offsets(const Tokenizer& tokenizer, std::string_view text, bool add_special);

// 1 for each token that overlaps a span, else 0.
std::vector<int32_t> token_mask(const EncodedText& encoded, const std::vector<ByteSpan>& spans);

}  // namespace plimsoll
