// `quantization_config` of a config.json: in which way the linears of a Hugging Face folder are stored quantized. The
// ways that are read and written here:
//   bitsandbytes        4 bit (NF4, FP4) or LLM.int8; each tensor says the rest itself
//   compressed-tensors  pack-quantized: integers of 2 to 8 bits in groups; float-quantized: fp8 by tensor, row or block
//   mxfp4               experts in blocks of 32 with a common exponent, as gpt-oss is published; read only
//   fp8                 e4m3 in blocks with weight_scale_inv, as DeepSeek-V3 publishes them
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace plimsoll {

struct QuantizationConfig {
  enum class Method : uint8_t { bnb_4bit, bnb_int8, packed_integers, compressed_fp8, block_fp8, mxfp4 };

  Method method = Method::bnb_4bit;
  // bnb_4bit, as written; when read, each tensor's own state counts.
  std::string bnb_type = "nf4";
  bool double_quant = false;
  std::string compute_dtype = "bfloat16";
  // packed_integers
  int bits = 4;
  bool symmetric = false;
  // Columns that share a scale, and of which modules: as compressed-tensors names them, "Linear" for all, "re:…" for a
  // regular expression. Written only: when read, the shape of the scales counts.
  struct Group {
    int64_t size = 0;
    std::vector<std::string> targets;
    bool operator==(const Group&) const = default;
  };
  std::vector<Group> groups;
  bool rounded = false;          // restored weights are rounded to the type of the scales
  bool static_order = false;     // GPTQ rounded columns by importance; says nothing of the layout
  std::string head = "lm_head";  // the module of the output matrix, which stays as it is; written only
  // block_fp8; compressed_fp8 with block_rows 0: one scale for the tensor
  int64_t block_rows = 0, block_cols = 0;

  bool operator==(const QuantizationConfig&) const = default;
};

// Of a whole config.json; empty when it has none. Throws a caller Error that names `source` for ways that are not read.
std::optional<QuantizationConfig> parse_quantization_config(const nlohmann::json& config, std::string_view source);

// The value of the key, as transformers 5 reads it.
nlohmann::json write_quantization_config(const QuantizationConfig& config);

}  // namespace plimsoll
