// Models run in pieces: the logits are those of transformers, for families whose layers hand on different things.
#include "quantize/layer_stream.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "arch/architecture.h"
#include "ops/op_def.h"
#include "quantize/compare.h"
#include "quantize/layer_inputs.h"
#include "setup/inference.h"
#include "support/golden.h"
#include "support/test_files.h"

namespace plimsoll {
namespace {

class Pieces : public testing::TestWithParam<const char*> {};

TEST_P(Pieces, GiveTheLogitsOfTheWhole) {
  const std::string folder = std::string("models/") + GetParam();
  const ModelFiles model = open_model(golden_path(folder));
  const Golden batch(folder + "/batch.safetensors"), expected(folder + "/expected.safetensors");
  const int64_t length = batch.shape("input_ids")[1], vocabulary = model.config.vocab_size;
  TokenBatch row(1, length);  // the first, which has no padding
  const std::vector<int32_t> ids = batch.i32("input_ids");
  for (int64_t t = 0; t < length; ++t) {
    row.ids[static_cast<size_t>(t)] = ids[static_cast<size_t>(t)];
    row.positions[static_cast<size_t>(t)] = batch.i32("position_ids")[static_cast<size_t>(t)];
  }
  ThreadPool pool(2);
  const LayerStream stream(model.config, length);
  EXPECT_EQ(static_cast<int64_t>(stream.pieces().size()), model.config.layers + 2);
  std::unique_ptr<Carried> carried;
  std::vector<float> logits(static_cast<size_t>(length * vocabulary));
  for (const ForwardPiece& piece : stream.pieces()) {
    verify(piece.graph);
    const RunPlan plan = plan_piece({piece.graph}, model.tensors, pool.threads());
    const Arena arena(plan.arena_bytes);
    load_weights(plan, arena, pool, model, {});
    const Executor executor(plan.phase(piece.graph.phase), arena, cpu_backend(), pool);
    stream.write_inputs(executor, row);
    if (carried) carried->read(0, executor, piece.carried_in);
    RunState state;
    executor.run(state);
    if (!piece.carried_out.empty()) {
      carried = std::make_unique<Carried>(piece);
      carried->append(executor, piece.carried_out);
      carried->finish();
    } else {
      std::memcpy(logits.data(), executor.data(piece.graph.outputs.back()), logits.size() * sizeof(float));
    }
  }
  const std::vector<float> wanted = expected.f32("logits");
  for (size_t i = 0; i < logits.size(); ++i) ASSERT_NEAR(logits[i], wanted[i], 5e-5) << i;
}

INSTANTIATE_TEST_SUITE_P(Families, Pieces,
                         testing::Values("llama", "llama_tied", "qwen3", "gemma2", "gemma3_text", "phi3", "gpt2", "phi",
                                         "gpt_neox", "falcon", "bloom", "opt", "opt_350m_style", "mixtral",
                                         "deepseek_v3", "gpt_oss", "granite"),
                         [](const auto& info) { return std::string(info.param); });

// What AWQ may scale: q, k, v behind their norm, o through v, gate and up behind theirs, down through up.
TEST(SharedInputs, OfALlamaLayer) {
  const ModelFiles model = open_model(golden_path("models/llama"));
  const LayerStream stream(model.config, 8);
  std::map<std::string, PackedFormat> formats;
  for (const ParameterSpec& spec : list_parameters(model.config))
    if (spec.part == ParameterPart::attention || spec.part == ParameterPart::mlp) formats[spec.name] = {};
  EXPECT_TRUE(find_shared_inputs(stream.pieces().front(), formats).empty());
  const std::vector<SharedInput> shared = find_shared_inputs(stream.pieces()[1], formats);
  ASSERT_EQ(shared.size(), 4U);
  EXPECT_EQ(shared[0].weights.size(), 3U);
  EXPECT_EQ(shared[0].vectors, std::vector<std::string>{"model.layers.0.input_layernorm.weight"});
  EXPECT_EQ(shared[1].matrix, "model.layers.0.self_attn.v_proj.weight");
  // Two query heads share a head of values.
  const auto width = static_cast<size_t>(model.config.head_dim);
  EXPECT_EQ(shared[1].places[0], shared[1].places[width]);
  EXPECT_EQ(shared[1].places[2 * width], static_cast<int32_t>(width));
  EXPECT_EQ(shared[2].weights.size(), 2U);
  EXPECT_EQ(shared[3].matrix, "model.layers.0.mlp.up_proj.weight");
  EXPECT_EQ(shared[3].places[5], 5);
}

TEST(CompareLogits, IsTheDefinition) {
  const std::vector<float> a = {1, 2, 3}, b = {3, 1, 2.5F};
  const PositionComparison same = compare_logits(a.data(), a.data(), 3, 1);
  EXPECT_NEAR(same.kl, 0, 1e-12);
  EXPECT_TRUE(same.same_top);
  EXPECT_NEAR(same.loss, std::log(std::exp(1.0) + std::exp(2.0) + std::exp(3.0)) - 2, 1e-12);
  const PositionComparison other = compare_logits(a.data(), b.data(), 3, 0);
  const auto p = [](const std::vector<float>& x, size_t i) {
    double sum = 0;
    for (const float value : x) sum += std::exp(static_cast<double>(value));
    return std::exp(static_cast<double>(x[i])) / sum;
  };
  double kl = 0;
  for (size_t i = 0; i < 3; ++i) kl += p(a, i) * std::log(p(a, i) / p(b, i));
  EXPECT_NEAR(other.kl, kl, 1e-12);
  EXPECT_FALSE(other.same_top);
  EXPECT_NEAR(other.original_loss, -std::log(p(a, 0)), 1e-12);
  EXPECT_NEAR(other.loss, -std::log(p(b, 0)), 1e-12);
}

}  // namespace
}  // namespace plimsoll
