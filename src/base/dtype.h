// Element types of tensors, in memory and in files. One table (dtype.cpp) holds every fact about them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace plimsoll {

// Block types are those of GGUF (ggml-common.h): `block_elements` values share `block_bytes` bytes.
enum class DType : uint8_t {
  f32,
  f64,
  bf16,
  f16,
  f8_e4m3,
  f8_e5m2,
  i64,
  i32,
  i16,
  i8,
  u8,
  boolean,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  iq2_xxs,
  iq2_xs,
  iq2_s,
  iq3_xxs,
  iq3_s,
  iq1_s,
  iq1_m,
  iq4_nl,
  iq4_xs,
  tq1_0,
  tq2_0,
  mxfp4,
  nvfp4,
  q1_0,
  // Packed matrices, whose bytes follow from rows and columns (quant/packed_matrix.h): of no file, no dtype_bytes.
  nf4,
  fp4,
  int8,
  fp8,
};
inline constexpr int kDTypeCount = static_cast<int>(DType::fp8) + 1;

struct DTypeInfo {
  std::string_view name;              // ours, lower case: "bf16", "q4_k"
  std::string_view safetensors_name;  // "BF16"; empty where the format has no such type
  int gguf_type;                      // ggml type id; -1 where GGUF has no such type
  int block_elements;                 // 1 for plain types
  int block_bytes;                    // 0 for the packed matrices
};

const DTypeInfo& dtype_info(DType dtype);
inline std::string_view dtype_name(DType dtype) { return dtype_info(dtype).name; }
inline bool is_block_type(DType dtype) { return dtype_info(dtype).block_elements > 1; }

// Bytes of `elements` values. Requires `elements` to be a multiple of the block and the product to fit int64.
int64_t dtype_bytes(DType dtype, int64_t elements);

std::optional<DType> dtype_from_name(std::string_view name);
std::optional<DType> dtype_from_safetensors(std::string_view name);
std::optional<DType> dtype_from_gguf(int gguf_type);

// --- bf16 and fp16 as 16-bit patterns -------------------------------------------------------------------------------

float bf16_to_f32(uint16_t bits);
uint16_t f32_to_bf16(float value);  // round to nearest even; NaN stays NaN
float f16_to_f32(uint16_t bits);
uint16_t f32_to_f16(float value);  // round to nearest even; overflow gives infinity

}  // namespace plimsoll
