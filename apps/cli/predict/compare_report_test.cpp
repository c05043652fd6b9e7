#include "cli/predict/compare_report.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace plimsoll::cli {
namespace {

constexpr const char* kSearch = R"({"kind":"search","model":"<m>","device":"d","device_bytes":100,"pareto":[
 {"devices":2,"layout":{"data":2,"tensor":1,"zero_stage":1},"recompute":"full","bytes_per_device":{"total":80,"weights":50,
 "activations":30},"hours":2,"tokens_per_second":1000,"usd":12.5}],"fastest":{"seconds_by_cause":{"products":3,"host":1}}})";

TEST(Compare, ReadsWhatTheCommandsWrite) {
  const auto plans = parse_compared(kSearch, "s.json");
  ASSERT_EQ(plans.size(), 1U);
  EXPECT_EQ(plans[0].devices, 2);
  EXPECT_EQ(plans[0].seconds, 7200);
  EXPECT_EQ(plans[0].what, "data 2, zero_stage 1, recompute");
  double parts = 0;
  for (const auto& part : plans[0].parts) parts += part.second;
  EXPECT_EQ(parts, plans[0].bytes);
  EXPECT_NE(compare_text(plans).find("2.0 h"), std::string::npos);
}

TEST(Compare, ThePageIsOneFileAndEscapesNames) {
  const std::string page = compare_html(parse_compared(kSearch, "s.json"));
  EXPECT_EQ(page.find("<m>"), std::string::npos);
  EXPECT_NE(page.find("&lt;m&gt;"), std::string::npos);
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_EQ(page.find("http"), std::string::npos);
  EXPECT_NE(page.find("It fits"), std::string::npos);
  EXPECT_NE(page.find("<svg"), std::string::npos);
}

TEST(Compare, RefusesWhatIsNoPlan) {
  EXPECT_THROW(parse_compared("{}", "x"), Error);
  EXPECT_THROW(parse_compared("[", "x"), Error);
  EXPECT_THROW(parse_compared("[]", "x"), Error);
  EXPECT_THROW(parse_compared(R"({"kind":"search"})", "x"), Error);
}

}  // namespace
}  // namespace plimsoll::cli
