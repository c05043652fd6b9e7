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
  EXPECT_EQ(plans[0].what,
            "2 groups of devices read different texts; the optimizer's memory is shared out among the groups (ZeRO-1); "
            "activations are computed again instead of kept");
  double parts = 0;
  for (const auto& part : plans[0].parts) parts += part.second;
  EXPECT_EQ(parts, plans[0].bytes);
  EXPECT_NE(compare_text(plans).find("2 h"), std::string::npos);
}

TEST(Compare, TheEnginesFigureIsShown) {
  std::string search = kSearch;
  search.replace(search.find("\"hours\""), 0, R"("engine_bytes_per_device":{"device_used":96,"low":90,"high":110},)");
  const auto plans = parse_compared(search, "s.json");
  EXPECT_EQ(plans[0].bytes, 96);
  ASSERT_EQ(plans[0].parts.size(), 2U);
  EXPECT_DOUBLE_EQ(plans[0].parts[0].second, 60);
  EXPECT_DOUBLE_EQ(plans[0].parts[1].second, 36);
}

TEST(Compare, MoneyOfCallsIsNoMoneyOfTraining) {
  const auto plans = parse_compared(R"({"kind":"approaches","model":"m","device_bytes":100,"calls":1000,"approaches":[
 {"name":"LoRA","fits":true,"steps":5,"devices":1,"models":[],"phases":[],"bytes_per_device":50,"hours":1,
 "usd_training":2,"usd_total":12}]})",
                                    "a.json");
  EXPECT_NE(compare_text(plans).find("12.00*"), std::string::npos) << compare_text(plans);
  EXPECT_NE(compare_text(plans).find("* with 1,000 calls"), std::string::npos);
  EXPECT_NE(plans[0].what.find("training costs 2.00 USD"), std::string::npos);
  EXPECT_NE(compare_html(plans).find("12.00 with 1,000 calls"), std::string::npos);
}

TEST(Compare, AStepIsNeverRankedAgainstARun) {
  const auto of = [](const char* hours, const char* usd) {
    return parse_compared(
        std::string(R"({"kind":"search","model":"m","device":"d","device_bytes":100,"fastest":null,"pareto":[
 {"devices":8,"layout":{"data":4,"tensor":2,"zero_stage":1},"recompute":"full","bytes_per_device":{"total":80},
 "step_seconds":3.6,"tokens_per_second":1000,"hours":)") +
            hours + ",\"usd\":" + usd + "}]}",
        "s.json");
  };
  auto plans = of("0.001", "0.01");
  EXPECT_EQ(plans[0].name, "m on 8 × d (dp 4, tp 2, ZeRO-1, recomputed)");
  EXPECT_TRUE(plans[0].one_step);
  EXPECT_NE(compare_text(plans).find("3.6 s a step"), std::string::npos);
  EXPECT_NE(compare_text(plans).find("0.01/step"), std::string::npos);
  plans.push_back(of("10", "50").front());
  plans.push_back(of("20", "40").front());
  EXPECT_FALSE(plans[1].one_step);
  std::string page = compare_html(plans);
  EXPECT_NE(page.find("<b>Cheapest:</b> m on 8 × d (dp 4, tp 2, ZeRO-1, recomputed) (40.00 USD)"), std::string::npos)
      << page.substr(page.find("Cheapest"), 120);
  EXPECT_NE(page.find("<p>Training: "), std::string::npos);
  plans.resize(1);
  plans.push_back(of("0.001", "0.02").front());
  page = compare_html(plans);
  EXPECT_NE(page.find("(0.01 USD a step)"), std::string::npos);
  EXPECT_NE(page.find("How long, of a step"), std::string::npos);
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

TEST(Compare, ServingIsPaidByTheHour) {
  const auto plans = parse_compared(
      R"({"kind":"serve-plan","model":"m","device":"d","devices":2,"weights_bytes_per_device":60,"cache_bytes_per_device":20,
"workspace_bytes_per_device":5,"device_bytes":100,"output_tokens_per_second":10,"usd_per_device_hour":3,
"usd_per_million_output":1,"first_token_seconds":{"p95":1},"between_tokens_seconds":{"p95":0.1}})",
      "s.json");
  ASSERT_EQ(plans.size(), 1U);
  EXPECT_EQ(plans[0].bytes, 85);
  EXPECT_EQ(plans[0].parts.size(), 3U);
  EXPECT_EQ(plans[0].usd, 6);
  EXPECT_TRUE(plans[0].usd_an_hour);
  EXPECT_NE(compare_text(plans).find("6.00/h"), std::string::npos);
}

TEST(Compare, ApproachesStandSideBySide) {
  const auto plans = parse_compared(
      R"({"kind":"approaches","model":"m","device_bytes":100,"approaches":[
{"name":"prompt only","fits":true,"steps":0,"serve_devices":1,"bytes_per_device":70,"models":[{"role":"policy"}],"usd_total":9},
{"name":"PPO","fits":true,"steps":4,"devices":2,"generating_devices":0,"bytes_per_device":80,"hours":1,"usd_total":7,
 "models":[{"role":"policy","trained":true,"weights_bytes":20,"gradients_bytes":40,"optimizer_bytes":60}],
 "phases":[{"name":"generate","seconds":2},{"name":"train","seconds":3}]},
{"name":"full","fits":false,"what_stops":"too large","steps":4,"devices":2,"models":[],"phases":[]}]})",
      "a.json");
  ASSERT_EQ(plans.size(), 3U);
  EXPECT_EQ(plans[1].parts.front().second, 60);  // 120 bytes of states over two devices
  EXPECT_EQ(plans[1].parts.back().second, 20);
  EXPECT_EQ(plans[1].seconds, 3600);
  EXPECT_EQ(plans[1].time_parts.size(), 2U);
  EXPECT_NE(plans[2].what.find("too large"), std::string::npos);
  const std::string page = compare_html(plans);
  EXPECT_NE(page.find("<b>Cheapest:</b> m: PPO (7.00 USD)"), std::string::npos);
  EXPECT_NE(page.find("How much"), std::string::npos);
  EXPECT_NE(page.find("viewport"), std::string::npos);
  EXPECT_NE(page.find("@media print"), std::string::npos);
}

// A file that somebody wrote over: what is below nothing isn't known.
TEST(Compare, FiguresThatCannotBeAreUnknown) {
  const std::vector<ComparedPlan> plans = parse_compared(
      R"({"kind":"engine","model":"m","engine":"e","devices":2,"device_used":{"bytes":-5},"budget_bytes":-1e308,)"
      R"("at_peak":{},"peak":{},"time":{"step_seconds":-5,"tokens_per_second_per_device":-5,"seconds_by_cause":{}}})",
      "x");
  ASSERT_EQ(plans.size(), 1u);
  EXPECT_EQ(plans[0].bytes, -1);
  EXPECT_EQ(plans[0].limit_bytes, -1);
  EXPECT_EQ(plans[0].seconds, -1);
  EXPECT_LT(plans[0].tokens_per_second, 0);
}

TEST(Compare, RefusesWhatIsNoPlan) {
  EXPECT_THROW(parse_compared("{}", "x"), Error);
  EXPECT_THROW(parse_compared("[", "x"), Error);
  EXPECT_THROW(parse_compared("[]", "x"), Error);
  EXPECT_THROW(parse_compared(R"({"kind":"search"})", "x"), Error);
}

}  // namespace
}  // namespace plimsoll::cli
