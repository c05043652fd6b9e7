// Runs of a small random model: what the numbers may not depend on.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "end_to_end/program.h"
#include "support/tiny_model.h"
#include "train/trainer.h"

namespace plimsoll {
namespace {

class RunTest : public testing::Test {
 protected:
  void SetUp() override {
    write_random_model(folder_ / "model", tiny_llama());
    write_random_rows(folder_ / "rows.jsonl", 24, 5, 30, 256);
  }
  Recipe recipe() const {
    Recipe recipe;
    recipe.model = folder_ / "model";
    recipe.data = {folder_ / "rows.jsonl"};
    recipe.seq_len = 64;
    recipe.global_batch = 4;
    recipe.micro_batch = 2;
    recipe.steps = 4;
    recipe.lr = 1e-2;
    recipe.rank = 4;
    recipe.threads = 2;
    return recipe;
  }
  TrainReport run(const Recipe& recipe, const std::string& out) {
    TrainOptions options;
    options.recipe = recipe;
    options.out = folder_ / out;
    std::filesystem::remove_all(options.out);  // a finished run is never written over
    return run_training(options);
  }
  nlohmann::json first_step(const std::string& out) { return logged_steps(folder_ / out).at(0); }

  TestFolder folder_;
};

// Where frozen weights lie, and in what bits they are kept there, is nothing that a result may show.
TEST_F(RunTest, StreamedWeightsChangeNoBit) {
  for (const Method method : {Method::lora, Method::qlora}) {
    Recipe resident = recipe();
    resident.method = method;
    resident.eval_data = resident.data[0];
    resident.stream = StreamMode::off;
    Recipe streamed = resident;
    streamed.stream = StreamMode::on;
    const TrainReport one = run(resident, "resident"), other = run(streamed, "streamed");
    EXPECT_TRUE(read_bytes(one.output + "/adapter_model.safetensors") ==
                read_bytes(other.output + "/adapter_model.safetensors"));
    EXPECT_EQ(logged_steps(folder_ / "resident"), logged_steps(folder_ / "streamed"));
    EXPECT_EQ(one.eval_loss, other.eval_loss);
    EXPECT_FALSE(std::filesystem::exists(folder_ / "streamed/streamed.weights"));
  }
}

// What recomputed layers keep goes to disk and comes back as it was: with adapters, all weights, fp16, an optimizer in
// the backward pass that runs the step twice, and with weights on disk too.
TEST_F(RunTest, StreamedInputsChangeNoBit) {
  ModelConfig deep = tiny_llama();
  deep.layers = 6;
  write_random_model(folder_ / "deep", deep);
  struct Case {
    Method method;
    DType precision = DType::bf16;
    bool in_backward = false;
    StreamMode stream = StreamMode::inputs;
  };
  for (const Case& c : {Case{Method::lora}, Case{Method::lora, DType::bf16, false, StreamMode::on},
                        Case{Method::full, DType::f32}, Case{Method::full, DType::bf16, true},
                        Case{Method::lora, DType::f16}, Case{Method::qlora, DType::bf16, false, StreamMode::on}}) {
    Recipe resident = recipe();
    resident.model = folder_ / "deep";
    resident.method = c.method;
    resident.precision = c.precision;
    resident.optimizer_in_backward = c.in_backward;
    if (c.in_backward) resident.micro_batch = resident.global_batch;
    resident.recompute = RecomputeMode::all;
    resident.stream = StreamMode::off;
    Recipe streamed = resident;
    streamed.stream = c.stream;
    const TrainReport one = run(resident, "resident"), other = run(streamed, "streamed");
    const std::string file = trains_adapter(c.method) ? "/adapter_model.safetensors" : "/model.safetensors";
    EXPECT_TRUE(read_bytes(one.output + file) == read_bytes(other.output + file));
    EXPECT_EQ(logged_steps(folder_ / "resident"), logged_steps(folder_ / "streamed"));
    EXPECT_LE(other.arena_bytes, one.arena_bytes + 4096 * 64) << "only pieces of a disk may be added";
    const std::string plan = read_bytes(folder_ / "streamed/plan.json");
    EXPECT_NE(plan.find("\"streamed_inputs\": true"), std::string::npos);
    EXPECT_FALSE(std::filesystem::exists(folder_ / "streamed/streamed.weights"));
  }
}

TEST_F(RunTest, KeepingAttentionChangesNoBit) {
  Recipe made_again = recipe();
  made_again.recompute = RecomputeMode::all;
  made_again.recompute_keep = RecomputeKeep::nothing;
  Recipe kept = made_again;
  kept.recompute_keep = RecomputeKeep::attention;
  const TrainReport one = run(made_again, "again"), other = run(kept, "kept");
  EXPECT_TRUE(read_bytes(one.output + "/adapter_model.safetensors") ==
              read_bytes(other.output + "/adapter_model.safetensors"));
  EXPECT_EQ(logged_steps(folder_ / "again"), logged_steps(folder_ / "kept"));
  EXPECT_NE(read_bytes(folder_ / "kept/plan.json").find("\"recompute_keep\": \"attention\""), std::string::npos);
}

TEST_F(RunTest, ThreadsChangeNoBit) {
  for (const Method method : {Method::lora, Method::full}) {
    for (const DType precision : {DType::f32, DType::bf16}) {
      Recipe base = recipe();
      base.method = method;
      base.precision = precision;
      std::vector<nlohmann::json> first;
      std::string weights;
      for (const int threads : {1, 2, 3}) {
        base.threads = threads;
        const TrainReport report = run(base, "out");
        const std::string file =
            read_bytes(report.output + (method == Method::full ? "/model.safetensors" : "/adapter_model.safetensors"));
        const auto steps = logged_steps(folder_ / "out");
        ASSERT_EQ(steps.size(), 4U);
        if (threads == 1) {
          first = steps;
          weights = file;
        }
        EXPECT_EQ(steps, first) << threads;
        EXPECT_TRUE(file == weights) << threads;
      }
    }
  }
}

TEST_F(RunTest, PackedRowsTrainAsUnpackedOnes) {
  // 24 rows in order: all of them in one step, packed into a few rows or one to a row.
  Recipe packed = recipe();
  packed.precision = DType::f32;
  packed.shuffle = false;
  packed.steps = 1;
  packed.micro_batch = 1;
  Recipe unpacked = packed;
  unpacked.packing = false;
  unpacked.global_batch = 24;
  run(unpacked, "unpacked");
  int64_t rows = 0;
  for (packed.global_batch = 1; rows == 0 && *packed.global_batch < 24; ++*packed.global_batch) {
    run(packed, "packed");
    if (first_step("packed").at("tokens") == first_step("unpacked").at("tokens")) rows = *packed.global_batch;
  }
  ASSERT_GT(rows, 1);
  ASSERT_LT(rows, 20);  // else nothing was packed
  const double loss = first_step("unpacked").at("loss"), norm = first_step("unpacked").at("grad_norm");
  EXPECT_NEAR(first_step("packed").at("loss"), loss, 2e-6 * loss);
  EXPECT_NEAR(first_step("packed").at("grad_norm"), norm, 1e-5 * norm);
}

TEST_F(RunTest, ABatchCutIntoMicroBatchesIsTheSameBatch) {
  Recipe whole = recipe();
  whole.precision = DType::f32;
  whole.packing = false;  // rows of unequal lengths: a mean of means would show
  whole.micro_batch = 4;
  run(whole, "whole");
  Recipe cut = whole;
  cut.micro_batch = 1;
  cut.recompute = RecomputeMode::all;
  cut.ce_chunk_rows = 8;
  run(cut, "cut");
  const auto a = logged_steps(folder_ / "whole"), b = logged_steps(folder_ / "cut");
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_NEAR(a[i].at("loss"), b[i].at("loss"), 1e-5);
    EXPECT_NEAR(a[i].at("grad_norm"), b[i].at("grad_norm"), 1e-4 * a[i].at("grad_norm").get<double>());
    EXPECT_EQ(a[i].at("tokens"), b[i].at("tokens"));
  }
}

TEST_F(RunTest, EvaluationCountsEveryRowOnce) {
  // Without learning, the loss on a file is that file's mean, however its rows fall into batches.
  std::vector<double> losses;
  for (const bool packing : {true, false}) {
    for (const int64_t micro_batch : {1, 5}) {
      Recipe frozen = recipe();
      frozen.precision = DType::f32;
      frozen.lr = 0;
      frozen.steps = 1;
      frozen.packing = packing;
      frozen.micro_batch = frozen.global_batch = micro_batch;
      frozen.eval_data = folder_ / "rows.jsonl";
      const TrainReport report = run(frozen, "out");
      ASSERT_TRUE(report.eval_loss.has_value());
      losses.push_back(*report.eval_loss);
    }
  }
  for (const double loss : losses) EXPECT_NEAR(loss, losses[0], 2e-6 * losses[0]);
  EXPECT_NEAR(losses[0], std::log(256.0), 1.0);  // random weights know little
}

TEST_F(RunTest, ItLearns) {
  Recipe learning = recipe();
  learning.method = Method::full;
  learning.steps = 30;
  learning.lr = 5e-3;
  const double last = run(learning, "out").final_loss;
  EXPECT_LT(last, 0.8 * first_step("out").at("loss").get<double>());
}

TEST_F(RunTest, ASeedIsARun) {
  Recipe seeded = recipe();
  run(seeded, "a");
  run(seeded, "b");
  seeded.seed = 1;
  run(seeded, "c");
  EXPECT_EQ(logged_steps(folder_ / "a"), logged_steps(folder_ / "b"));
  EXPECT_NE(logged_steps(folder_ / "a"), logged_steps(folder_ / "c"));
}

TEST_F(RunTest, WhatIsPlannedIsUsed) {
  for (const Method method : {Method::lora, Method::full}) {
    Recipe planned = recipe();
    planned.method = method;
    planned.eval_data = folder_ / "rows.jsonl";
    const PlanReport plan = plan_training(planned, false);
    const TrainReport report = run(planned, "out");
    EXPECT_EQ(report.arena_bytes, plan.arena_bytes);
    EXPECT_EQ(report.planned_total_bytes, plan.total_bytes());
  }
}

TEST_F(RunTest, AFinishedRunIsNotWrittenOver) {
  const Recipe learning = recipe();
  run(learning, "out");
  TrainOptions again;
  again.recipe = learning;
  again.out = folder_ / "out";
  expect_caller_error([&] { run_training(again); }, "holds a finished run");
}

TEST_F(RunTest, OtherDataIsNotResumedWith) {
  Recipe learning = recipe();
  learning.save_every = 1;
  TrainOptions again;
  again.recipe = learning;
  again.out = folder_ / "out";
  again.interrupted = [] { return true; };
  EXPECT_TRUE(run_training(again).interrupted);
  write_random_rows(folder_ / "rows.jsonl", 23, 5, 30, 256);
  again.resume = true;
  expect_caller_error([&] { run_training(again); }, "was begun with 24 rows");
}

}  // namespace
}  // namespace plimsoll
