// What --quant says of frozen weights.
#pragma once

#include <string_view>
#include <vector>

namespace plimsoll {

namespace quant_word {
inline constexpr std::string_view kAuto = "auto";      // as stored where the file packs them; else what a command takes
inline constexpr std::string_view kNone = "none";      // in the type of the arithmetic
inline constexpr std::string_view kStored = "stored";  // as the .gguf file holds them
}  // namespace quant_word

// The words above, then the names of packed types (quant/packed_matrix.h) that weights can be put into.
const std::vector<std::string_view>& quant_words();

}  // namespace plimsoll
