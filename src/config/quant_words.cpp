#include "config/quant_words.h"

#include "quant/ggml/ggml_blocks.h"
#include "quant/packed_matrix.h"

namespace plimsoll {

const std::vector<std::string_view>& quant_words() {
  static const std::vector<std::string_view> words = [] {
    std::vector<std::string_view> all = {
        quant_word::kAuto, quant_word::kNone, quant_word::kStored, "nf4", "fp4", "int8", "fp8"};
    for (int i = 0; i < kDTypeCount; ++i) {
      const auto type = static_cast<DType>(i);
      if (is_block_type(type) && can_quantize_blocks(type)) all.push_back(dtype_name(type));
    }
    return all;
  }();
  return words;
}

}  // namespace plimsoll
