// The types that a GGUF file can be written in, by the names of llama.cpp's quantizer, and which type each matrix gets:
// the same as llama.cpp (of early 2026, without importance matrix) chooses. q4_k_m and the like are mixes: the output
// matrix and what the result is most sensitive to get more bits.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/dtype.h"
#include "base/shape.h"
#include "config/model_config.h"

namespace plimsoll {

struct GgufFileType {
  std::string_view name;  // "q4_k_m"
  int file_type;          // general.file_type, LLAMA_FTYPE of llama.h
  DType base;             // of most matrices
};

std::span<const GgufFileType> gguf_file_types();
// "q3_k", "q4_k" and "q5_k" are the mixes of middle size, as for llama.cpp. nullptr for another name.
const GgufFileType* find_gguf_file_type(std::string_view name);
std::string gguf_file_type_names();  // "f32, f16, …", for messages

// Of the tensor with this name in GGUF. Vectors are f32. Where rows are no whole blocks of 256 a type of blocks of 32
// with as many bits takes its place, and f16 where they are no blocks of 32 either.
DType gguf_tensor_type(const GgufFileType& type, const ModelConfig& config, std::string_view name, const Shape& shape);

}  // namespace plimsoll
