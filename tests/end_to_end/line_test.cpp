// The line: peak resident memory of the whole process stays at or below what was planned, and the plan is not padded.
#include <gtest/gtest.h>

#include "base/bytes.h"
#include "end_to_end/program.h"
#include "support/tiny_model.h"

namespace plimsoll {
namespace {

// About 14 million parameters: some 300 MiB of arena for full training in bf16.
ModelConfig middle_llama() {
  ModelConfig config = tiny_llama();
  config.vocab_size = 8192;
  config.hidden_size = 512;
  config.intermediate_size = 1024;
  config.layers = 4;
  config.heads = 8;
  config.kv_heads = 4;
  config.head_dim = 64;
  return config;
}

class LineTest : public testing::TestWithParam<std::string> {};

TEST_P(LineTest, PeakStaysBelowAndThePlanIsNotPadded) {
  const TestFolder folder;
  write_random_model(folder / "model", middle_llama());
  write_random_rows(folder / "rows.jsonl", 8, 60, 60, 8192);
  const bool full = GetParam() != "lora" && GetParam() != "qlora" && GetParam() != "dora" && GetParam() != "fp16";
  std::vector<std::string> recipe = {
      "--model",        folder / "model",
      "--data",         folder / "rows.jsonl",
      "--eval-data",    folder / "rows.jsonl",
      "--method",       GetParam() == "in_backward" ? "full" : GetParam() == "fp16" ? "lora" : GetParam(),
      "--seq-len",      "64",
      "--global-batch", "2",
      "--steps",        "2",
      "--save-every",   "1",
      "--threads",      "2",
      "--precision",    full ? "bf16" : GetParam() == "fp16" ? "fp16" : "fp32",
      "--json"};
  if (GetParam() == "in_backward")
    recipe.insert(recipe.end(), {"--optimizer-in-backward", "on", "--optimizer", "adamw8bit"});
  const auto with = [&](std::vector<std::string> words, const std::string& memory) {
    words.insert(words.end(), recipe.begin(), recipe.end());
    words.insert(words.end(), {"--memory", memory});
    return words;
  };
  // `plan` takes the model as its argument or as --model; the smallest line is in its refusal, too.
  const Finished plan = run_program(with({"plan", folder / "model"}, "1MiB"), folder);
  ASSERT_EQ(plan.code, 3) << plan.err;
  const int64_t smallest = plan.json().at("smallest_budget_bytes");

  for (const int64_t line : {smallest, smallest + 40 * kMiB}) {
    ProgramLimits limits;
    limits.data_bytes = static_cast<rlim_t>(line + 32 * kMiB);
    const Finished done =
        run_program(with({"train", "--out", folder / std::to_string(line)}, std::to_string(line)), folder, limits);
    ASSERT_EQ(done.code, 0) << done.err;
    const int64_t planned = done.json().at("planned_total_bytes"), peak = done.json().at("peak_resident_bytes"),
                  arena = done.json().at("arena_bytes");
    EXPECT_LE(planned, line);
    EXPECT_LE(peak, planned) << "peak " << peak / 1048576.0 << " MiB, planned " << planned / 1048576.0 << ", arena "
                             << arena / 1048576.0;
    EXPECT_GE(peak, arena);  // the arena is resident as a whole
    if (full) {
      EXPECT_GE(static_cast<double>(peak), 0.8 * static_cast<double>(planned));
    }
    EXPECT_GE(arena, full && GetParam() != "in_backward" ? 200 * kMiB : 20 * kMiB);
    const auto written = nlohmann::json::parse(read_bytes(folder / (std::to_string(line) + "/plan.json")));
    EXPECT_EQ(written.at("arena_bytes"), arena);
    EXPECT_EQ(written.at("total_bytes"), planned);
  }
  const Finished refused =
      run_program(with({"train", "--out", folder / "refused"}, std::to_string(smallest - 4096)), folder);
  EXPECT_EQ(refused.code, 3) << refused.err;
  EXPECT_NE(refused.err.find(std::to_string(smallest)), std::string::npos) << refused.err;
  EXPECT_FALSE(std::filesystem::exists(folder / "refused"));
}

INSTANTIATE_TEST_SUITE_P(Methods, LineTest,
                         testing::Values("lora", "qlora", "full", "dora", "qat", "in_backward", "fp16"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace plimsoll
