// Ways of training in few bytes: which of them change no bit, and how far the others may go from training in fp32.
#include <fstream>
#include <nlohmann/json.hpp>

#include "support/tensor_files.h"
#include "train/evaluate.h"
#include "train/trainer.h"

namespace plimsoll {
namespace {

using nlohmann::json;

// Rows of ready ids from the golden batches of a model.
void write_rows(const Golden& batches, const std::string& path) {
  const auto length = static_cast<size_t>(batches.shape("input_ids").at(2));
  const auto ids = batches.i64("input_ids"), labels = batches.i64("labels"), mask = batches.i64("attention_mask");
  std::ofstream file(path);
  for (size_t first = 0; first < ids.size(); first += length) {
    const auto part = [&](const std::vector<int64_t>& all) {
      const auto begin = all.begin() + static_cast<std::ptrdiff_t>(first);
      return std::vector<int64_t>(begin, begin + static_cast<std::ptrdiff_t>(length));
    };
    file << json{{"input_ids", part(ids)}, {"labels", part(labels)}, {"attention_mask", part(mask)}}.dump() << "\n";
  }
}

struct Outcome {
  std::vector<json> steps;  // lines of metrics.jsonl
  std::string weights;      // bytes of the result
  TrainReport report;
};

class FewBytes : public testing::Test {
 protected:
  Recipe recipe(const std::string& model, Method method, DType precision) {
    const Golden batches("training/batches/" + model + ".safetensors");
    write_rows(batches, folder_ / (model + ".jsonl"));
    Recipe r;
    r.model = golden_path("models/" + model);
    r.data = {folder_ / (model + ".jsonl")};
    r.shuffle = r.packing = false;
    r.method = method;
    r.precision = precision;
    r.seq_len = batches.shape("input_ids").at(2);
    r.micro_batch = r.global_batch = batches.shape("input_ids").at(1);
    r.steps = 8;
    r.lr = 2e-3;
    r.rank = 4;
    r.threads = 2;
    return r;
  }
  Outcome train(const Recipe& recipe) {
    TrainOptions options;
    options.recipe = recipe;
    options.out = folder_ / ("out" + std::to_string(runs_++));
    Outcome outcome;
    outcome.report = run_training(options);
    std::ifstream metrics(options.out + "/metrics.jsonl");
    for (std::string line; std::getline(metrics, line);) outcome.steps.push_back(json::parse(line));
    outcome.weights = read_bytes(outcome.report.output +
                                 (trains_adapter(recipe.method) ? "/adapter_model.safetensors" : "/model.safetensors"));
    EXPECT_EQ(outcome.report.arena_bytes,
              json::parse(read_bytes(options.out + "/plan.json")).at("arena_bytes").get<int64_t>());
    return outcome;
  }
  static double last_loss(const Outcome& outcome) { return outcome.steps.back().at("loss"); }

  TestFolder folder_;
  int runs_ = 0;
};

TEST_F(FewBytes, TheOptimizerInTheBackwardPassChangesNoBit) {
  for (const char* model : {"llama_tied", "gpt2", "qwen3"}) {
    for (const Method method : {Method::full, Method::lora, Method::dora}) {
      for (const double clip : {0.0, 1.0}) {
        SCOPED_TRACE(std::string(model) + " " + std::to_string(static_cast<int>(method)) + " " + std::to_string(clip));
        Recipe plain = recipe(model, method, DType::bf16);
        plain.grad_clip = clip;
        plain.recompute = RecomputeMode::all;
        Recipe fused = plain;
        fused.optimizer_in_backward = true;
        const Outcome before = train(plain), after = train(fused);
        EXPECT_TRUE(before.weights == after.weights);
        ASSERT_EQ(before.steps.size(), after.steps.size());
        for (size_t i = 0; i < before.steps.size(); ++i) {
          EXPECT_EQ(before.steps[i].at("loss"), after.steps[i].at("loss"));
          EXPECT_EQ(before.steps[i].at("grad_norm"), after.steps[i].at("grad_norm"));
        }
        EXPECT_LT(after.report.arena_bytes, before.report.arena_bytes);
      }
    }
  }
}

TEST_F(FewBytes, NarrowOptimizersComeNearAdamW) {
  const Recipe base = recipe("llama_tied", Method::full, DType::bf16);
  const Outcome adamw = train(base);
  const double start = adamw.steps.front().at("loss"), want = last_loss(adamw);
  ASSERT_LT(want, start - 0.1);
  // The data changes from step to step, so losses compare between runs, not within one.
  const auto check = [&](const char* name, const Recipe& changed, double tolerance) {
    const Outcome outcome = train(changed);
    EXPECT_LT(last_loss(outcome), want + tolerance * (start - want)) << name;
    EXPECT_LT(outcome.report.arena_bytes, adamw.report.arena_bytes) << name;
    EXPECT_TRUE(outcome.weights == train(changed).weights) << name << ": another run gives the same bytes";
    Recipe other = changed;
    other.threads = 1;
    EXPECT_TRUE(outcome.weights == train(other).weights) << name << ": and so does one thread";
  };
  Recipe coded = base, narrow = base, bare = base, factored = base;
  coded.optimizer = OptimizerKind::adamw8bit;
  check("adamw8bit", coded, 0.1);
  narrow.optimizer_state = DType::bf16;
  check("bf16 state", narrow, 0.1);
  bare.optimizer_state = DType::bf16;
  bare.master_weights = false;
  check("bf16 weights", bare, 0.2);
  factored.optimizer = OptimizerKind::adafactor;
  check("adafactor", factored, 0.1);
}

TEST_F(FewBytes, Fp16SkipsStepsThatOverflowAndFollowsFp32) {
  Recipe wide = recipe("llama_tied", Method::full, DType::f32);
  wide.steps = 20;
  Recipe half = wide;
  half.precision = DType::f16;
  half.loss_scale = 0x1p24;
  half.loss_scale_interval = 4;
  const Outcome want = train(wide), got = train(half);
  int64_t skipped = 0;
  double scale = 0x1p24;
  for (size_t i = 0; i < got.steps.size(); ++i) {
    EXPECT_EQ(got.steps[i].at("loss_scale"), scale);
    if (!got.steps[i].at("skipped").get<bool>()) break;
    EXPECT_TRUE(got.steps[i].at("grad_norm").is_null());
    scale /= 2;
    ++skipped;
  }
  EXPECT_GT(skipped, 1);
  EXPECT_LT(skipped, 18);
  int64_t all_skipped = 0;
  for (const json& step : got.steps) all_skipped += step.at("skipped").get<bool>() ? 1 : 0;
  EXPECT_EQ(got.report.skipped_steps, all_skipped);
  EXPECT_LT(got.report.arena_bytes, want.report.arena_bytes * 3 / 2);
  // The same data from the first step that counts on: as fp32 to fp16's eleven bits.
  half.loss_scale = 1024;
  half.loss_scale_interval = 2000;
  const Outcome steady = train(half);
  EXPECT_EQ(steady.report.skipped_steps, 0);
  for (size_t i = 0; i < want.steps.size(); ++i) {
    EXPECT_NEAR(steady.steps[i].at("loss"), want.steps[i].at("loss"), 1e-2) << i;
    EXPECT_NEAR(steady.steps[i].at("grad_norm"), want.steps[i].at("grad_norm"),
                2e-2 * want.steps[i].at("grad_norm").get<double>())
        << i;
  }
}

TEST_F(FewBytes, Fp16OverABaseInFewBits) {
  Recipe bf16 = recipe("llama_tied", Method::qlora, DType::bf16);
  Recipe half = bf16;
  half.precision = DType::f16;
  half.loss_scale = 1024;
  const Outcome want = train(bf16), got = train(half);
  for (size_t i = 0; i < want.steps.size(); ++i)
    EXPECT_NEAR(got.steps[i].at("loss"), want.steps[i].at("loss"), 4e-2) << i;
}

TEST_F(FewBytes, WhatWasTrainedUnderQuantizationIsWhatIsExported) {
  for (const char* model : {"llama_tied", "gpt2"}) {
    for (const QatType type : {QatType::int8, QatType::int4}) {
      for (const DType precision : {DType::f32, DType::bf16, DType::f16}) {
        SCOPED_TRACE(std::string(model) + (type == QatType::int8 ? " int8 " : " int4 ") +
                     std::string(dtype_name(precision)));
        Recipe qat = recipe(model, Method::qat, precision);
        qat.qat_type = type;
        qat.loss_scale = 1024;
        qat.eval_data = qat.data[0];
        const Outcome outcome = train(qat);
        Recipe eval = qat;
        eval.model = outcome.report.output;
        eval.method = Method::full;
        eval.eval_data.clear();
        EXPECT_NEAR(run_evaluation(eval).loss, *outcome.report.eval_loss, 1e-6);
        Recipe untrained = qat;
        untrained.lr = 0;
        untrained.steps = 1;
        EXPECT_LT(*outcome.report.eval_loss, *train(untrained).report.eval_loss - 0.1);
      }
    }
  }
}

TEST_F(FewBytes, DropoutIsDrawnAgainAlike) {
  Recipe plain = recipe("llama_tied", Method::lora, DType::f32);
  plain.adapter = golden_path("training/lora/llama_tied/adapter_init");
  plain.rank = Recipe{}.rank;  // the adapter's own holds
  plain.alpha = Recipe{}.alpha;
  Recipe dropped = plain;
  dropped.lora_dropout = 0.4;
  const Outcome without = train(plain), with = train(dropped);
  EXPECT_NE(without.steps[0].at("loss"), with.steps[0].at("loss"));
  EXPECT_TRUE(with.weights == train(dropped).weights);
  Recipe all_again = dropped;
  all_again.recompute = RecomputeMode::all;
  EXPECT_TRUE(with.weights == train(all_again).weights) << "a mask that is made again is the same mask";
  Recipe other = dropped;
  other.seed = 1;
  EXPECT_FALSE(with.weights == train(other).weights);
}

}  // namespace
}  // namespace plimsoll
