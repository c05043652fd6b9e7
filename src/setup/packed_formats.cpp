#include "setup/packed_formats.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "config/quant_words.h"
#include "formats/packed/packed_tensor.h"
#include "quant/packed_matrix.h"

namespace plimsoll {
namespace {

PackedFormats stored_formats(const TensorIndex& weights, DType compute) {
  PackedFormats formats;
  for (const TensorEntry& entry : weights.entries)
    if (entry.packed) {
      const DType restored = entry.packed->format.restored;
      const std::optional<DType> dtype = packed_dtype(entry.packed->format);
      if (dtype && (restored == DType::f32 || restored == compute)) formats.stored[entry.name] = *dtype;
    } else if (is_packed(entry.dtype) && !entry.transposed && can_pack(entry.dtype, entry.shape))
      formats.stored[entry.name] = entry.dtype;
  return formats;
}

}  // namespace

PackedFormats choose_packed_formats(std::string_view quant, PackedDefault otherwise, const TensorIndex& weights,
                                    DType compute) {
  const auto& words = quant_words();
  if (std::find(words.begin(), words.end(), quant) == words.end())
    throw caller_error("--quant", fmt::format("'{}' is no type that weights are held in", one_line(quant, 40)),
                       fmt::format("give one of {}", fmt::join(words, ", ")));
  if (quant == quant_word::kNone) return {};
  if (quant == quant_word::kAuto || quant == quant_word::kStored) {
    PackedFormats formats = stored_formats(weights, compute);
    if (!formats.none()) return formats;
    if (quant == quant_word::kStored)
      throw caller_error("--quant", "stored given, but the model's files hold no packed weights",
                         "give a quantized .gguf file, or a type such as --quant nf4");
    if (otherwise == PackedDefault::nf4) formats.linears = DType::nf4;
    return formats;
  }
  PackedFormats formats;
  formats.linears = dtype_from_name(quant);
  return formats;
}

std::string_view name_of(const PackedFormats& formats) {
  if (formats.linears) return dtype_name(*formats.linears);
  return formats.stored.empty() ? "" : quant_word::kStored;
}

}  // namespace plimsoll
