#include "train/metrics.h"

#include <gtest/gtest.h>

#include "support/test_files.h"

namespace plimsoll {
namespace {

StepMetrics step(int64_t number) {
  StepMetrics metrics;
  metrics.step = number;
  metrics.loss = 0.1 + static_cast<double>(number);
  return metrics;
}

TEST(Metrics, AResumedRunDropsTheLinesBehindItsCheckpoint) {
  const TestFolder folder;
  const std::string path = folder / "metrics.jsonl";
  {
    MetricsFile file(path, 0);
    for (int64_t i = 1; i <= 5; ++i) file.append(step(i));
  }
  const std::string five = read_bytes(path);
  folder.write("metrics.jsonl", five + "{\"step\": 6, \"lo");  // cut short by a crash
  {
    MetricsFile file(path, 3);
    EXPECT_EQ(file.last_kept()->step, 3);
    file.append(step(4));
    file.append(step(5));
  }
  EXPECT_EQ(read_bytes(path), five);
  { MetricsFile file(path, 0); }
  EXPECT_EQ(read_bytes(path), "");
}

TEST(Metrics, ALineSaysEverything) {
  const TestFolder folder;
  const std::string path = folder / "metrics.jsonl";
  MetricsFile file(path, 0);
  StepMetrics metrics = step(0);
  metrics.eval_loss = 2.5;
  file.append(metrics);
  const std::string line = read_bytes(path);
  for (const char* key : {"step", "loss", "lr", "grad_norm", "tokens", "tokens_per_second", "mfu",
                          "peak_resident_bytes", "seconds", "eval_loss"})
    EXPECT_NE(line.find("\"" + std::string(key) + "\":"), std::string::npos) << key;
}

TEST(Metrics, TheLastLineSaysHowFarARunCame) {
  const TestFolder folder;
  EXPECT_FALSE(read_last_metrics(folder / "metrics.jsonl"));
  {
    MetricsFile file(folder / "metrics.jsonl", 0);
    for (int64_t i = 1; i <= 3; ++i) file.append(step(i));
  }
  EXPECT_EQ(read_last_metrics(folder / "metrics.jsonl")->step, 3);
}

TEST(Metrics, NoFolderIsTheWorldsFault) {
  const TestFolder folder;
  EXPECT_EQ(catch_error([&] { MetricsFile(folder / "absent/metrics.jsonl", 0); }).kind, ErrorKind::world);
}

}  // namespace
}  // namespace plimsoll
