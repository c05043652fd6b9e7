#include "cost/kernel_time.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace plimsoll {
namespace {

constexpr int kHalf = static_cast<int>(ProductFormat::half);

Device card() {
  Device device;
  device.name = "card";
  device.bf16 = 100e12;
  device.fp8 = 200e12;
  device.bandwidth = 1e12;
  return device;
}

TimeConstants constants() {
  TimeConstants made;
  made.gemm_efficiency = 0.9;
  made.gemm_alignment = 0.5;
  made.attention_efficiency = made.stream_efficiency = 1;
  return made;
}

TEST(KernelTime, ALargeProductTakesItsFlops) {
  const KernelRates rates = kernel_rates(card(), constants());
  const double n = 16384;
  EXPECT_NEAR(product_seconds(rates, n, n, n, ProductFormat::half), 2 * n * n * n / rates.product[kHalf], 1e-9);
}

TEST(KernelTime, BytesThatArithmeticDoesNotHideAddUp) {
  TimeConstants own = constants();
  const KernelRates hidden = kernel_rates(card(), own);
  own.gemm_bytes = 1;
  const KernelRates exposed = kernel_rates(card(), own);
  const double flops = 2.0 * 256 * 4096 * 4096, bytes = 2 * (256.0 * 4096 + 4096.0 * 4096 + 256.0 * 4096);
  EXPECT_NEAR(product_seconds(exposed, 256, 4096, 4096, ProductFormat::half) -
                  product_seconds(hidden, 256, 4096, 4096, ProductFormat::half),
              std::min(flops / hidden.product[kHalf], bytes / hidden.stream), 1e-9);
}

// Half of the alignment, half of the rate: 1800 is 8 · 225, and 64 / 8 are three halvings. Rows of tokens don't count.
TEST(KernelTime, UnalignedRowsAreSlow) {
  const KernelRates rates = kernel_rates(card(), constants());
  const auto rate = [&](double m, double n, double k) {
    return 2 * m * n * k / product_seconds(rates, m, n, k, ProductFormat::half);
  };
  EXPECT_NEAR(rate(8192, 1800, 8192) / rate(8192, 1792, 8192), 1.0 / 8, 1e-6);
  EXPECT_NEAR(rate(8192, 8192, 1800) / rate(8192, 8192, 1792), 1.0 / 8, 1e-6);
  EXPECT_NEAR(rate(8191, 8192, 8192) / rate(8192, 8192, 8192), 1.0, 1e-3);
}

TEST(KernelTime, WhatADeviceKeepsUpReplacesTheUsualShare) {
  Device device = card();
  const double usual = kernel_rates(device, constants()).product[kHalf];
  device.sustained_bf16 = 50e12;
  const KernelRates rates = kernel_rates(device, constants());
  EXPECT_NEAR(rates.product[kHalf], 50e12, 1);
  EXPECT_LT(rates.product[kHalf], usual);
  EXPECT_NEAR(rates.product[static_cast<int>(ProductFormat::fp8)], 100e12, 1);  // the same limit of power
}

TEST(KernelTime, AnUnknownDeviceIsRefused) { EXPECT_THROW(kernel_rates(Device{}, constants()), Error); }

}  // namespace
}  // namespace plimsoll
