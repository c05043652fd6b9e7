// How a checkpoint keeps a linear's weight in bitsandbytes' 4 bits (quant/bnb/bnb4.h), so that transformers loads it as
// pre-quantized. Beside NAME.weight, u8 (packed bytes, 1), lie:
//   NAME.weight.absmax            f32 (blocks), or u8 (blocks) with double quantization
//   NAME.weight.quant_map         f32 (16): the values of the codes
//   NAME.weight.nested_absmax     f32 (blocks of 256 of absmax)    } with double
//   NAME.weight.nested_quant_map  f32 (256)                        } quantization
//   NAME.weight.quant_state.bitsandbytes__nf4 (or __fp4)           u8: JSON, what is written here
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/shape.h"
#include "formats/safetensors_writer.h"
#include "quant/bnb/bnb4.h"

namespace plimsoll {

struct Bnb4State {
  Bnb4Type type = Bnb4Type::nf4;
  int64_t block = 64;
  DType dtype = DType::bf16;  // f32, f16 or bf16: of the weight before, and what it is restored to
  Shape shape;                // of the weight, row-major
  bool nested = false;        // double quantization
  float nested_offset = 0;    // the mean of the absmax

  bool operator==(const Bnb4State&) const = default;
  int64_t blocks() const;  // of the weight
};

// The JSON text, byte for byte as the library writes it.
std::string write_bnb4_state(const Bnb4State& state);
// Throws a caller Error that names `source` (the file, and the tensor) for anything that is not such a state.
Bnb4State parse_bnb4_state(std::string_view json, std::string_view source);

// Names, types and shapes of a weight's tensors, in the order above.
std::vector<SafetensorsOutput> bnb4_tensors(const std::string& weight, const Bnb4State& state);

}  // namespace plimsoll
