// Killed at any moment, or out of disk: --resume ends with the bytes of a run that nobody disturbed.
#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "end_to_end/program.h"
#include "support/tiny_model.h"

namespace plimsoll {
namespace {

namespace fs = std::filesystem;

class ResumeTest : public testing::Test {
 protected:
  static constexpr int kSteps = 24;

  void SetUp() override {
    write_random_model(folder_ / "model", tiny_llama());
    write_random_rows(folder_ / "rows.jsonl", 50, 40, 128, 256);
  }
  std::vector<std::string> train(const std::string& out, int steps = kSteps,
                                 const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words = {"train",
                                      "--model",
                                      folder_ / "model",
                                      "--data",
                                      folder_ / "rows.jsonl",
                                      "--out",
                                      folder_ / out,
                                      "--json",
                                      "--seq-len",
                                      "128",
                                      "--global-batch",
                                      "8",
                                      "--micro-batch",
                                      "2",
                                      "--rank",
                                      "16",
                                      "--steps",
                                      std::to_string(steps),
                                      "--save-every",
                                      "2",
                                      "--lr",
                                      "1e-2",
                                      "--warmup-steps",
                                      "3",
                                      "--threads",
                                      "2"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  std::vector<std::string> resume(const std::string& out, int steps = kSteps) const {
    return train(out, steps, {"--resume"});
  }

  void run_whole(const std::string& out, int steps = kSteps) {
    const Finished done = run_program(train(out, steps), folder_);
    ASSERT_EQ(done.code, 0) << done.err;
  }
  std::string adapter(const std::string& out) const {
    return read_bytes(folder_ / (out + "/adapter/adapter_model.safetensors"));
  }
  void expect_same(const std::string& out, const std::string& reference) {
    EXPECT_TRUE(adapter(out) == adapter(reference));
    EXPECT_EQ(logged_steps(folder_ / out), logged_steps(folder_ / reference));
    EXPECT_EQ(read_bytes(folder_ / (out + "/adapter/adapter_config.json")),
              read_bytes(folder_ / (reference + "/adapter/adapter_config.json")));
  }
  void expect_no_partial_files(const std::string& out) {
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / out))
      for (const char* mark : {".partial", ".tmp-"})
        EXPECT_EQ(entry.path().filename().string().find(mark), std::string::npos) << entry.path();
  }

  TestFolder folder_;
};

TEST_F(ResumeTest, KilledAtAnyMoment) {
  run_whole("whole");
  ASSERT_EQ(logged_steps(folder_ / "whole").size(), static_cast<size_t>(kSteps));
  std::mt19937 engine(5);
  for (const bool many_times : {false, true}) {
    const std::string out = many_times ? "often" : "once";
    size_t killed = 0, alive = 0;
    for (const size_t lines :
         many_times ? std::vector<size_t>{0, 1, 2, 5, 8, 11, 14, 17, 20} : std::vector<size_t>{5}) {
      RunningProgram program(killed == 0 ? train(out) : resume(out), folder_ / "log");
      for (int i = 0; i < 60000 && logged_lines(folder_ / out) < lines && !program.has_ended(); ++i)
        sleep_microseconds(500);
      sleep_microseconds(static_cast<long>(engine() % 4000));  // into the next step, or the save
      alive += program.has_ended() ? 0 : 1;
      program.kill();
      ++killed;
    }
    // What a kill in the middle of a write leaves.
    folder_.write(out + "/adapter/adapter_model.safetensors.tmp-4711-12", "half");
    folder_.write(out + "/plan.json.tmp-4711-0", "half");
    EXPECT_GE(2 * alive, killed) << "most runs ended before they were killed";
    const Finished done = run_program(resume(out), folder_);
    ASSERT_EQ(done.code, 0) << done.err;
    EXPECT_EQ(done.json().at("steps"), kSteps);
    expect_same(out, "whole");
    expect_no_partial_files(out);
  }
}

TEST_F(ResumeTest, KilledInEveryWayToTrain) {
  const std::vector<std::vector<std::string>> ways = {
      {"--method", "full", "--optimizer", "adamw8bit"},
      {"--method", "full", "--optimizer", "adafactor", "--scale-parameter", "on"},
      {"--method", "full", "--optimizer-state", "bf16", "--master-weights", "off", "--micro-batch", "8",
       "--optimizer-in-backward", "on"},
      {"--method", "full", "--precision", "fp16", "--loss-scale", "1e9", "--loss-scale-interval", "3"},
      {"--method", "dora", "--lora-plus-ratio", "4", "--lr", "1e-3"},
      {"--lora-dropout", "0.3"},
      {"--method", "qat", "--qat-type", "int4", "--lr", "1e-3"}};
  for (size_t way = 0; way < ways.size(); ++way) {
    SCOPED_TRACE(ways[way][1] + " " + ways[way].back());
    constexpr int kFew = 10;
    const std::string whole = "whole" + std::to_string(way), out = "killed" + std::to_string(way);
    const Finished done = run_program(train(whole, kFew, ways[way]), folder_);
    ASSERT_EQ(done.code, 0) << done.err;
    RunningProgram program(train(out, kFew, ways[way]), folder_ / "log");
    for (int i = 0; i < 120000 && logged_lines(folder_ / out) < 5 && !program.has_ended(); ++i) sleep_microseconds(500);
    EXPECT_FALSE(program.has_ended());
    program.kill();
    std::vector<std::string> more = ways[way];
    more.emplace_back("--resume");
    const Finished resumed = run_program(train(out, kFew, more), folder_);
    ASSERT_EQ(resumed.code, 0) << resumed.err;
    const bool adapts = ways[way][1] == "dora" || ways[way][0] == "--lora-dropout";
    const std::string result = adapts ? "/adapter/adapter_model.safetensors" : "/model/model.safetensors";
    EXPECT_TRUE(read_bytes(folder_ / (out + result)) == read_bytes(folder_ / (whole + result)));
    EXPECT_EQ(logged_steps(folder_ / out), logged_steps(folder_ / whole));
    EXPECT_EQ(resumed.json().value("skipped_steps", -1), done.json().value("skipped_steps", -1));
  }
}

TEST_F(ResumeTest, GoesOnFromTheRecipeItWrote) {
  run_whole("whole");
  run_whole("first", 6);
  const std::string first_lines = read_bytes(folder_ / "first/metrics.jsonl");
  // The folder alone is enough; a longer run is asked for by flag.
  const Finished done =
      run_program({"train", "--out", folder_ / "first", "--resume", "--steps", std::to_string(kSteps)}, folder_);
  ASSERT_EQ(done.code, 0) << done.err;
  expect_same("first", "whole");
  EXPECT_TRUE(read_bytes(folder_ / "first/metrics.jsonl").starts_with(first_lines));  // their times, too: not run again
}

TEST_F(ResumeTest, ResumingAFinishedRunChangesNothing) {
  run_whole("whole");
  const std::string before = adapter("whole");
  const auto steps = logged_steps(folder_ / "whole");
  const Finished done = run_program(resume("whole"), folder_);
  ASSERT_EQ(done.code, 0) << done.err;
  EXPECT_TRUE(adapter("whole") == before);
  EXPECT_EQ(logged_steps(folder_ / "whole"), steps);
}

TEST_F(ResumeTest, AFinishedRunSaysThatItIsDone) {
  run_whole("whole");
  const Finished again = run_program(resume("whole"), folder_);
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_NE(again.err.find("nothing to do: step 24 was its last"), std::string::npos) << again.err;
  EXPECT_EQ(again.json().at("steps"), kSteps);
  // Without checkpoints, too; but more steps have nothing to begin from.
  ASSERT_EQ(run_program(train("bare", 6, {"--save-every", "0"}), folder_).code, 0);
  const Finished bare = run_program(train("bare", 6, {"--save-every", "0", "--resume"}), folder_);
  EXPECT_EQ(bare.code, 0) << bare.err;
  EXPECT_NE(bare.err.find("nothing to do"), std::string::npos) << bare.err;
  const Finished longer = run_program(train("bare", 9, {"--save-every", "0", "--resume"}), folder_);
  EXPECT_EQ(longer.code, 2) << longer.err;
  EXPECT_NE(longer.err.find("without a checkpoint to go on from"), std::string::npos) << longer.err;
}

TEST_F(ResumeTest, CtrlCFinishesTheStepAndSaves) {
  constexpr int kMany = 150;  // so many that a signal comes before the end
  run_whole("whole", kMany);
  for (const auto& [signal, code] : {std::pair{SIGINT, 130}, std::pair{SIGTERM, 143}}) {
    const std::string out = "stopped" + std::to_string(code);
    RunningProgram program(train(out, kMany, {"--save-every", "0"}), folder_ / "log");
    for (int i = 0; i < 120000 && logged_lines(folder_ / out) < 3 && !program.has_ended(); ++i) sleep_microseconds(500);
    program.send(signal);
    const int ended = program.wait();
    EXPECT_EQ(ended, code) << program.err();
    EXPECT_NE(program.err().find("goes on from there"), std::string::npos) << program.err();
    const auto report = nlohmann::json::parse(program.out());
    EXPECT_EQ(report.at("interrupted"), true);
    EXPECT_EQ(logged_steps(folder_ / out).size(), report.at("steps").get<size_t>());
    const Finished done = run_program({"train", "--out", folder_ / out, "--resume", "--json"}, folder_);
    ASSERT_EQ(done.code, 0) << done.err;
    expect_same(out, "whole");
  }
}

TEST_F(ResumeTest, LostLinesOfTheRecipeAreNotGuessed) {
  run_whole("cut", 6);
  const std::string recipe = read_bytes(folder_ / "cut/recipe.toml");
  const size_t at = recipe.find("\nrank = ");
  folder_.write("cut/recipe.toml", recipe.substr(0, at) + recipe.substr(recipe.find('\n', at + 1)));
  const Finished failed = run_program({"train", "--out", folder_ / "cut", "--resume", "--steps", "8"}, folder_);
  EXPECT_EQ(failed.code, 2) << failed.err;
  EXPECT_NE(failed.err.find("has no line for rank"), std::string::npos) << failed.err;
  const Finished given =
      run_program({"train", "--out", folder_ / "cut", "--resume", "--steps", "8", "--rank", "16"}, folder_);
  EXPECT_EQ(given.code, 0) << given.err;
}

TEST_F(ResumeTest, ALineThatIsTooLowNamesNoChangeOfTheRun) {
  run_whole("low", 6);
  const Finished failed =
      run_program({"train", "--out", folder_ / "low", "--resume", "--steps", "8", "--memory", "1MiB"}, folder_);
  EXPECT_EQ(failed.code, 3) << failed.err;
  const std::string way_out = failed.err.substr(failed.err.rfind("  try: "));
  EXPECT_NE(way_out.find("--memory "), std::string::npos) << way_out;
  EXPECT_EQ(way_out.find("--rank"), std::string::npos) << way_out;
  EXPECT_EQ(way_out.find("--method"), std::string::npos) << way_out;
}

TEST_F(ResumeTest, AFullDiskLeavesTheLastCheckpoint) {
  run_whole("whole");
  run_whole("full", 6);
  const auto state_bytes = fs::file_size(folder_ / "full/checkpoint-6/state.safetensors");
  const std::string state = read_bytes(folder_ / "full/checkpoint-6/state.safetensors");
  ProgramLimits limits;
  limits.file_bytes = state_bytes / 2;
  const Finished failed = run_program(resume("full"), folder_, limits);
  EXPECT_EQ(failed.code, 4) << failed.err;
  EXPECT_NE(failed.err.find("plimsoll: error: "), std::string::npos);
  EXPECT_NE(failed.err.find("  try: "), std::string::npos);
  EXPECT_TRUE(read_bytes(folder_ / "full/checkpoint-6/state.safetensors") == state);
  EXPECT_FALSE(fs::exists(folder_ / "full/checkpoint-8"));
  expect_no_partial_files("full");
  const Finished done = run_program(resume("full"), folder_);
  ASSERT_EQ(done.code, 0) << done.err;
  expect_same("full", "whole");
}

TEST_F(ResumeTest, ADamagedCheckpointIsRefused) {
  run_whole("damaged", 6);
  const std::string state = folder_ / "damaged/checkpoint-6/state.safetensors",
                    progress = folder_ / "damaged/checkpoint-6/progress.json";
  const std::string whole_state = read_bytes(state), whole_progress = read_bytes(progress);
  const auto refuse = [&](const std::string& what) {
    const Finished failed = run_program(resume("damaged", 8), folder_);
    EXPECT_EQ(failed.code, 2) << what << ": " << failed.err;
    EXPECT_NE(failed.err.find("plimsoll: error: "), std::string::npos) << what;
    EXPECT_NE(failed.err.find("  try: "), std::string::npos) << what;
  };
  for (const size_t bytes : {whole_state.size() - 1, whole_state.size() / 2, size_t{100}, size_t{5}, size_t{0}}) {
    folder_.write("damaged/checkpoint-6/state.safetensors", whole_state.substr(0, bytes));
    refuse("state cut to " + std::to_string(bytes));
  }
  folder_.write("damaged/checkpoint-6/state.safetensors", whole_state);
  for (const char* text :
       {"", "{", "[]", "{\"step\": 6}",
        R"({"step": "6", "micro_batch": 2, "recompute_layers": 0, "ce_chunk_rows": 8, "train_seconds": 1})",
        R"({"step": 6, "micro_batch": 0, "recompute_layers": 0, "ce_chunk_rows": 8, "train_seconds": 1})",
        R"({"step": 6, "micro_batch": -1, "recompute_layers": 0, "ce_chunk_rows": 8, "train_seconds": 1})",
        R"({"step": 6, "micro_batch": 3, "recompute_layers": 0, "ce_chunk_rows": 8, "train_seconds": 1})",
        R"({"step": 6, "micro_batch": 2, "recompute_layers": -1, "ce_chunk_rows": 8, "train_seconds": 1})",
        R"({"step": 6, "micro_batch": 2, "recompute_layers": 0, "ce_chunk_rows": 0, "train_seconds": 1})",
        R"({"step": -6, "micro_batch": 2, "recompute_layers": 0, "ce_chunk_rows": 8, "train_seconds": 1})",
        R"({"step": 9, "micro_batch": 2, "recompute_layers": 0, "ce_chunk_rows": 8, "train_seconds": 1})",
        R"({"step": 6.5, "micro_batch": 2, "recompute_layers": 0, "ce_chunk_rows": 8, "train_seconds": 1})",
        R"({"step": 1e300, "micro_batch": 2, "recompute_layers": 0, "ce_chunk_rows": 8, "train_seconds": 1})"}) {
    folder_.write("damaged/checkpoint-6/progress.json", text);
    refuse(text);
  }
  folder_.write("damaged/checkpoint-6/progress.json", whole_progress);
  const Finished other_rank = run_program(train("damaged", 8, {"--resume", "--rank", "8"}), folder_);
  EXPECT_EQ(other_rank.code, 2) << other_rank.err;
  const Finished done = run_program(resume("damaged", 8), folder_);
  EXPECT_EQ(done.code, 0) << done.err;
}

}  // namespace
}  // namespace plimsoll
