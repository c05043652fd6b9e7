// What SentencePiece's library takes for granted about a file and does not check: that the double array of a character
// map stays inside itself, and that its replacements end.
#pragma once

#include <string_view>

namespace plimsoll::tokenizer {

// `bytes`: a file of sentencepiece_model.proto. False where its fields cannot be followed, or where a walk through a
// character map could leave it.
bool character_maps_are_sound(std::string_view bytes);

}  // namespace plimsoll::tokenizer
