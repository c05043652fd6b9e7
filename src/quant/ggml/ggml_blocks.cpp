#include "quant/ggml/ggml_blocks.h"

#include <array>

#include "base/error.h"
#include "quant/ggml/ggml_codec.h"

namespace plimsoll {
namespace {

std::array<ggml::Codec, kDTypeCount> make_codecs() {
  std::array<ggml::Codec, kDTypeCount> all;
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto type = static_cast<DType>(i);
    for (const ggml::Codec& codec : {ggml::codec_of_32(type), ggml::codec_of_k(type), ggml::codec_of_lattice(type),
                                     ggml::codec_of_four_bit(type), ggml::codec_of_ternary(type)}) {
      if (codec.read != nullptr) all[static_cast<size_t>(i)] = codec;
    }
  }
  return all;
}

const ggml::Codec& codec_of(DType type) {
  static const std::array<ggml::Codec, kDTypeCount> codecs = make_codecs();
  return codecs[static_cast<size_t>(type)];
}

}  // namespace

void dequantize_blocks(DType dtype, const std::byte* in, int64_t blocks, float* out) {
  const ggml::Codec& codec = codec_of(dtype);
  PLIMSOLL_CHECK(codec.read != nullptr, "not a block type");
  codec.read(reinterpret_cast<const uint8_t*>(in), blocks, out);
}

bool can_quantize_blocks(DType dtype) { return codec_of(dtype).write != nullptr; }

void quantize_blocks(DType dtype, const float* in, int64_t blocks, std::byte* out) {
  const ggml::Codec& codec = codec_of(dtype);
  PLIMSOLL_CHECK(codec.write != nullptr, "no quantizer for this type");
  codec.write(in, blocks, reinterpret_cast<uint8_t*>(out));
}

}  // namespace plimsoll
