#include "cli/text/plan_text.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "base/bytes.h"
#include "cli/text/terminal.h"

namespace plimsoll::cli {
namespace {

PlanReport example() {
  PlanReport report;
  report.model_name = "tiny.gguf";
  report.architecture = "llama";
  report.total_params = 134515008;
  report.trainable_params = 4884480;
  report.trained = "LoRA r=16 on all linear layers";
  report.budget_bytes = kGiB;
  report.arena_bytes = 900 * kMiB;
  report.runtime_overhead_bytes = 50 * kMiB;
  report.lower_bound_bytes = 900 * kMiB;
  report.smallest_budget_bytes = 391 * kMiB;
  report.peak_phase = "train step";
  report.peak_op = "layers.12.mlp backward";
  report.category_bytes[Category::parameters] = 257 * kMiB;
  report.category_bytes[Category::adapters] = 19 * kMiB;
  report.category_bytes[Category::master_weights] = 20 * kMiB;
  report.category_bytes[Category::gradients] = 20 * kMiB;
  report.category_bytes[Category::optimizer_state] = 40 * kMiB;
  report.category_bytes[Category::activations] = 500 * kMiB;
  report.category_bytes[Category::workspace] = 44 * kMiB;
  report.phases = {{"load", 300 * kMiB, "load lm_head"}, {"train step", 900 * kMiB, "layers.12.mlp backward"}};
  report.recompute_layers = 10;
  report.layers = 30;
  report.why = "chosen: fastest that fits";
  report.suggestions = {{"--seq-len 256", 700 * kMiB}};
  report.buffers = {{"a, \"b\"", "activations", "host", 64, 0, 1, 2, "train step"}};
  return report;
}

// Lines of the bar are as wide as each other on every terminal, and the mark stands under the word "line".
TEST(PlanText, TheBarEndsAtTheLine) {
  for (const int width : {20, 40, 80, 104, 300}) {
    const std::string text = plan_text(example(), Terminal{.unicode = false, .width = width});
    const size_t line = text.find("line\n");
    ASSERT_NE(line, std::string::npos);
    const size_t word_column = line + 3 - (text.rfind('\n', line) + 1);
    const size_t bar_begin = text.find('\n', line) + 1;
    EXPECT_EQ(text.find('|', bar_begin) - bar_begin, word_column) << width << "\n" << text;
  }
}

TEST(PlanText, NamesWhatMatters) {
  const std::string text = plan_text(example(), Terminal{});
  for (const char* part : {"134,515,008 parameters", "4,884,480 trained", "recompute in 10 of 30", "weights", "257 MiB",
                           "950 MiB of 1,024 MiB", "train step", "layers.12.mlp backward",
                           "0.0 % above the lower bound", "391 MiB", "--seq-len 256"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  EXPECT_EQ(text.find('\033'), std::string::npos);
  EXPECT_NE(plan_text(example(), Terminal{.color = true}).find('\033'), std::string::npos);
}

// Every part of the bar has a sign of its own, which its line below shows, too.
TEST(PlanText, PartsAreToldApartWithoutColour) {
  PlanReport report = example();
  report.category_bytes[Category::io_staging] = 30 * kMiB;
  report.arena_bytes = report.peak_live_bytes() + 30 * kMiB;
  for (const bool unicode : {false, true}) {
    const std::string text = plan_text(report, Terminal{.unicode = unicode});
    std::set<std::string> signs;
    int parts = 0;
    for (const char* label : {"weights", "adapter", "master weights", "gradients", "optimizer", "activations",
                              "workspace", "staging", "gaps", "runtime"}) {
      const size_t at = text.find(fmt::format(" {:<14} ", label));
      ASSERT_NE(at, std::string::npos) << label << "\n" << text;
      const size_t begin = text.rfind('\n', at) + 3;
      const std::string sign = text.substr(begin, at - begin);
      EXPECT_NE(text.substr(0, begin).find(sign), std::string::npos) << label;
      signs.insert(sign);
      ++parts;
    }
    EXPECT_EQ(static_cast<int>(signs.size()), parts) << text;
  }
}

TEST(PlanText, FitsTheTerminal) {
  PlanReport report = example();
  report.phases[0].op = "load_tensor.base_model.model.model.layers.11.self_attn.q_proj.lora_A.weight";
  report.suggestions.push_back({"--recompute all --ce-chunk-rows 256 --micro-batch 1 --method qlora --rank 8", kMiB});
  const std::string text = plan_text(report, Terminal{.is_terminal = true, .color = true, .width = 80});
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    for (size_t at; (at = line.find('\033')) != std::string::npos;) line.erase(at, line.find('m', at) - at + 1);
    EXPECT_LE(text_columns(line), 80) << line;
  }
  EXPECT_NE(text.find("q_proj.lora_A.weight"), std::string::npos);
}

TEST(PlanText, SmallModelsHaveSizesToo) {
  PlanReport report = example();
  report.category_bytes[Category::adapters] = 40 * kKiB;
  report.phases[0].bytes = 300;
  const std::string text = plan_text(report, Terminal{});
  EXPECT_NE(text.find("40 KiB"), std::string::npos) << text;
  EXPECT_NE(text.find("300 B"), std::string::npos) << text;
  EXPECT_EQ(text.find(" 0 MiB"), std::string::npos) << text;
}

TEST(PlanText, ARefusalNamesTheLeastBudget) {
  PlanReport report = example();
  report.fits = false;
  report.budget_bytes = 200 * kMiB;
  const Error error = does_not_fit(report);
  EXPECT_EQ(error.kind(), ErrorKind::does_not_fit);
  EXPECT_EQ(error.problem(), "996147200 bytes (950 MiB) needed, the line is at 209715200 bytes (200 MiB)");
  EXPECT_EQ(error.way_out(), "--memory 409993216 is the least that works; --seq-len 256 needs 700 MiB, still too much");
  EXPECT_NE(plan_text(report, Terminal{}).find("over the line"), std::string::npos);
}

TEST(PlanReport, JsonHasTheContractsFields) {
  const auto json = nlohmann::json::parse(plan_report_json(example()));
  for (const char* field :
       {"fits", "budget_bytes", "total_bytes", "arena_bytes", "lower_bound_bytes", "runtime_overhead_bytes", "peak",
        "phases", "categories", "choices", "smallest_budget_bytes", "suggestions", "trainable_params"})
    EXPECT_TRUE(json.contains(field)) << field;
  EXPECT_EQ(json["total_bytes"], 950 * kMiB);
  int64_t sum = 0;
  for (const auto& [name, bytes] : json["categories"].items()) sum += bytes.get<int64_t>();
  EXPECT_EQ(json["categories"].size(), 8U);
  EXPECT_EQ(sum, json["peak"]["bytes"]);
  EXPECT_TRUE(json["categories"].contains("io_staging") && json["categories"].contains("master_weights"));
}

TEST(PlanReport, BuffersQuoteTheirNames) {
  EXPECT_EQ(plan_buffers_csv(example()),
            "name,category,memory_space,size_bytes,offset,first,last,phase\n\"a, "
            "\"\"b\"\"\",activations,host,64,0,1,2,train step\n");
}

}  // namespace
}  // namespace plimsoll::cli
