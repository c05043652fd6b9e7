#include "backend/cpu/simd/instructions.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cstdlib>
#include <string_view>

#include "backend/cpu/cpu_backend.h"

namespace plimsoll::cpu {
namespace {

// Kernels are tested alone, without the backend: all tests of this program obey the variable.
class Limits : public testing::Environment {
  void SetUp() override { limit_highway(); }
};
[[maybe_unused]] const testing::Environment* const kLimits = testing::AddGlobalTestEnvironment(new Limits);

TEST(Instructions, ObeyTheVariable) {
  const char* const most = std::getenv("ONEDNN_MAX_CPU_ISA");
  if (most == nullptr || std::string_view(most) != "AVX2") GTEST_SKIP() << "plain_cpu.kernels sets it";
  EXPECT_EQ(hwy::SupportedTargets() & (HWY_AVX3 | HWY_AVX3_DL), 0);
  EXPECT_FALSE(may_use_avx512_bf16());
  EXPECT_FALSE(may_use_amx());
  EXPECT_STREQ(cpu_speed(DType::bf16).instructions, "avx2");
}

}  // namespace
}  // namespace plimsoll::cpu
