// Which weights are held in few bits, by what the user says (config/quant_words.h) and what the files hold.
#pragma once

#include <string_view>

#include "formats/tensor_index.h"
#include "passes/quantize.h"

namespace plimsoll {

// What quant_word::kAuto means where the files hold no packed weights.
enum class PackedDefault { none, nf4 };

// A caller Error for a word that is none, and for `stored` where nothing is stored packed.
// `compute`: of the arithmetic; what a folder would round to another type than this is unpacked when it is loaded.
PackedFormats choose_packed_formats(std::string_view quant, PackedDefault otherwise, const TensorIndex& weights,
                                    DType compute);

// For --json and titles: "nf4", "stored"; empty: nothing is packed.
std::string_view name_of(const PackedFormats& formats);

}  // namespace plimsoll
