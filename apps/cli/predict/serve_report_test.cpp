#include "cli/predict/serve_report.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace plimsoll::cli {
namespace {

ServeOptions large_model() {
  ServeOptions options;
  options.model = "llama-3.3-70b";
  options.device = "h100-80g";
  options.weights = options.kv = "8bit";
  options.users = 200;
  options.prompt = 2000;
  options.output = 300;
  return options;
}

TEST(ServeReport, ATargetTakesTheFewestDevicesOfAnySize) {
  ServeOptions options = large_model();
  options.target_first = 1;
  const Answer free = serve_report(options).answer;
  int64_t fewest = 1 << 20;
  for (const int64_t tensor : {1, 2, 4, 8}) {
    options.tensor = tensor;
    fewest = std::min(fewest, serve_report(options).answer.devices());
  }
  EXPECT_EQ(free.devices(), fewest);
  EXPECT_GT(free.model.setup.tensor, 1);  // one holds the model, too
  EXPECT_GT(*free.most_users, 100);
  options.tensor = 0, options.spread = 0.5;
  EXPECT_EQ(serve_report(options).answer.devices(), free.devices());  // it does not jump
}

TEST(ServeReport, ARateHasNoMostUsers) {
  ServeOptions options = large_model();
  options.users = 0, options.rate = 20, options.target_first = 2;
  const Answer answer = serve_report(options).answer;
  EXPECT_TRUE(answer.result.keeps_up);
  EXPECT_FALSE(answer.most_users);
  options.target_first = 0.001;
  EXPECT_THROW(serve_report(options), Error);
}

TEST(ServeReport, TheUsersPriceAndDevicesWithoutLinks) {
  const std::string folder = testing::TempDir() + "own_catalogue";
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/devices.csv")
      << "device,figure,value,unit,source,date\nour-h100,memory,80,GiB,invoice,2026-11\n"
         "our-h100,bf16,989,TFLOPS,data sheet,2022\nour-h100,bandwidth,3350,GB/s,data sheet,2022\n";
  std::ofstream(folder + "/prices.csv") << "device,kind,provider,usd,unit,source,date\n"
                                           "h100-80g,on_demand,our cluster,77,hour,invoice,2026-11\n";
  ServeOptions options;
  options.model = "llama-3.1-8b";
  options.device = "our-h100";
  options.catalog = folder;
  options.users = 8;
  const ServeReport alone = serve_report(options);
  EXPECT_EQ(alone.answer.devices(), 1);
  EXPECT_EQ(alone.alternatives.size(), 1U);
  options.device = "h100-80g";
  const ServeReport report = serve_report(options);
  EXPECT_EQ(report.price, 77);
  EXPECT_NE(report.price_source.find("our cluster"), std::string::npos);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace plimsoll::cli
