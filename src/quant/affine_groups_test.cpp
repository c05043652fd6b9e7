#include "quant/affine_groups.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "support/golden.h"

namespace plimsoll {
namespace {

TEST(AffineGroups, EveryGoldenCase) {
  for (const int bits : {4, 8}) {
    for (const bool symmetric : {true, false}) {
      for (const size_t group : {size_t{32}, size_t{128}}) {
        const Golden golden("quant/groupwise/int" + std::to_string(bits) + (symmetric ? "_symmetric" : "_asymmetric") +
                            "_g" + std::to_string(group) + ".safetensors");
        const auto input = golden.f32("input");
        for (const auto& [clipping, name] :
             {std::pair{Clipping::absmax, "absmax_"}, std::pair{Clipping::percentile, "percentile_"},
              std::pair{Clipping::mse, "mse_"}}) {
          SCOPED_TRACE(std::to_string(bits) + (symmetric ? " symmetric " : " asymmetric ") + name +
                       std::to_string(group));
          const AffineFormat format{.bits = bits, .symmetric = symmetric, .clipping = clipping};
          std::vector<uint8_t> codes(input.size());
          std::vector<float> back(input.size()), scratch(group), scales, ratios;
          std::vector<int32_t> zeros;
          for (size_t at = 0; at < input.size(); at += group) {
            const auto count = static_cast<int64_t>(group);
            const AffineGroup out =
                quantize_affine_group(format, input.data() + at, count, scratch.data(), codes.data() + at);
            dequantize_affine_group(format, out, codes.data() + at, count, back.data() + at);
            scales.push_back(out.scale);
            zeros.push_back(out.zero);
            ratios.push_back(out.ratio);
          }
          EXPECT_EQ(codes, golden.bytes(std::string(name) + "q"));
          EXPECT_EQ(scales, golden.f32(std::string(name) + "scale"));
          EXPECT_EQ(zeros, golden.i32(std::string(name) + "zero"));
          EXPECT_EQ(back, golden.f32(std::string(name) + "dequantized"));
          if (clipping == Clipping::mse) {
            EXPECT_EQ(ratios, golden.f32("mse_ratio"));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace plimsoll
