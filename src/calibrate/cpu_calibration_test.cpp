#include "calibrate/cpu_calibration.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace plimsoll {
namespace {

TEST(CpuCalibration, RatesComeBackFromTimesThatTheyMade) {
  std::vector<OpSample> samples;
  for (const auto& [flops, bytes, weights, calls] : {std::array{1e9, 1e6, 4e6, 10.0}, std::array{2e9, 9e6, 1e6, 4.0},
                                                     std::array{5e8, 2e7, 3e6, 30.0}, std::array{3e9, 2e6, 5e7, 20.0}})
    samples.push_back({flops, bytes, weights, calls, flops * 1e-11 + bytes * 1e-10 + weights * 5e-10 + calls * 2e-6});
  const OpRate rate = fit_rate(samples);
  EXPECT_NEAR(rate.seconds_per_flop / 1e-11, 1, 0.01);
  EXPECT_NEAR(rate.seconds_per_byte / 1e-10, 1, 0.01);
  EXPECT_NEAR(rate.seconds_per_weight_byte / 5e-10, 1, 0.01);
  EXPECT_NEAR(rate.seconds_per_call / 2e-6, 1, 0.01);
}

TEST(CpuCalibration, NoRateIsBelowNothing) {
  const OpRate rate = fit_rate({{1e9, 1e6, 0, 1, 1.0}, {1e9, 9e6, 0, 1, 0.5}});  // more bytes, less time
  EXPECT_GE(rate.seconds_per_flop, 0);
  EXPECT_GE(rate.seconds_per_byte, 0);
  EXPECT_GE(rate.seconds_per_call, 0);
  EXPECT_NEAR(fit_rate({{0, 1e6, 0, 5, 0.5}}).seconds_per_byte, 5e-7, 1e-12);
  EXPECT_FALSE(fit_rate({}).known);
}

TEST(CpuCalibration, WhatIsKeptReadsBackTheSame) {
  CpuCalibration calibration;
  calibration.threads = 3;
  calibration.rates[static_cast<size_t>(OpKind::linear)] = {1e-11, 2e-10, 4e-10, 3e-6, true};
  const CpuCalibration again = parse_op_rates(op_rates_json(calibration), "kept.json");
  EXPECT_EQ(again.threads, 3);
  EXPECT_EQ(again.rates[static_cast<size_t>(OpKind::linear)].seconds_per_byte, 2e-10);
  EXPECT_EQ(again.rates[static_cast<size_t>(OpKind::linear)].seconds_per_weight_byte, 4e-10);
  EXPECT_FALSE(again.rates[static_cast<size_t>(OpKind::add)].known);
  EXPECT_THROW(parse_op_rates("{}", "x"), Error);
  EXPECT_THROW(parse_op_rates("[1", "x"), Error);
  const std::string head = R"({"threads":2,"took_seconds":1,"ops":)", linear = R"({"linear":{"seconds_per_call":0,)";
  for (const std::string& bad :
       {head + "0}", head + "[]}", head + "{}}", head + linear + R"("seconds_per_flop":-1,"seconds_per_byte":0}}})",
        head + linear + R"("seconds_per_flop":1e308,"seconds_per_byte":0}}})",
        std::string(R"({"threads":0,"took_seconds":1,"ops":{"linear":{}}})")})
    EXPECT_THROW(parse_op_rates(bad, "x"), Error) << bad;
  EXPECT_NO_THROW(parse_op_rates(head + linear + R"("seconds_per_flop":1e-12,"seconds_per_byte":0}}})", "x"));
}

// The sum over ops of a real, small model: the rates of its own run give its own time.
TEST(CpuCalibration, ARunPredictsItself) {
  CpuCalibration calibration = calibrate_cpu(DType::f32, 1, {}, 1);
  ASSERT_TRUE(calibration.rates[static_cast<size_t>(OpKind::linear)].known);
  EXPECT_GT(calibration.rates[static_cast<size_t>(OpKind::linear)].seconds_per_flop, 0);
}

}  // namespace
}  // namespace plimsoll
