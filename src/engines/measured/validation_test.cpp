#include "engines/measured/validation.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace plimsoll {
namespace {

constexpr std::string_view kHeader =
    "id,model,params_b,hardware,gpus,nodes,method,precision,optimizer,zero_stage_or_fsdp,tp,pp,cp_or_sp,ep,recompute,"
    "micro_batch,global_batch,seq_len,lora_rank,lora_targets,framework,measured_mem_gib_per_gpu,"
    "measured_tokens_per_s_per_gpu,measured_tflops_per_gpu,measured_mfu,measured_step_s,source,notes\n";

MeasuredRow published(const std::string& row) {
  const CsvTable table = parse_csv(std::string(kHeader) + row, "test");
  return read_measured_rows(table, ".", "test").front();
}

TEST(MeasuredRows, AMegatronRow) {
  const MeasuredRow row = published(
      "a,GPT 181B "
      "(tuning),181,A100,384,48,pretrain,bf16,Adam,ZeRO-1,8,12,,,full,2,2048,2048,,,Megatron-DeepSpeed,37,,,,"
      "100,s,\"dp=4 h=14336 L=72 heads=64 vocab 250k; GB as printed (nvidia-smi style)\"\n");
  EXPECT_EQ(row.reason, "");
  EXPECT_EQ(row.run.model.hidden_size, 14336);
  EXPECT_EQ(row.run.model.layers, 72);
  EXPECT_EQ(row.run.model.heads, 64);
  EXPECT_EQ(row.run.model.vocab_size, 250112);
  EXPECT_EQ(row.run.layout.data, 4);
  EXPECT_EQ(row.run.layout.zero_stage, 1);
  EXPECT_EQ(row.run.recipe.grad_accum_steps, 256);
  EXPECT_EQ(row.run.recipe.recompute, RecomputeKind::full);
  EXPECT_EQ(row.measure, MemoryMeasure::device);
  EXPECT_LT(row.gib, 1);  // GB
  ASSERT_EQ(row.figures.size(), 2u);
  EXPECT_EQ(row.figures[0].quantity, "memory_gib");
  EXPECT_EQ(row.figures[1].quantity, "step_seconds");
}

TEST(MeasuredRows, AShortenedModelKeepsItsShareOfDenseLayers) {
  const MeasuredRow row = published(
      "a,DeepSeek-V3 (4 layers),,B200,8,1,pretrain,bf16,adam,distributed-optimizer (ZeRO-1),1,1,1,8,none,1,32,4096,,,"
      "Megatron-LM,1,,,,,s,max_memory_allocated; dp 8\n");
  EXPECT_EQ(row.run.model.layers, 4);
  EXPECT_EQ(row.run.model.mixture.layers, (std::vector<bool>{false, true, true, true}));
  EXPECT_EQ(row.measure, MemoryMeasure::allocated);
}

TEST(MeasuredRows, WhatIsNotStatedIsSaid) {
  EXPECT_EQ(published("a,No Such Model,,x,1,1,full,bf16,,,,,,,none,1,1,10,,,torch,1,,,,,s,\n").reason,
            "the shape of No Such Model isn't known");
  EXPECT_EQ(published("a,Llama 3.1 8B,,x,1,1,full,bf16,,,,,,,none,1,1,,,,torch,1,,,,,s,\n").unknown_memory,
            "the length of the sequences isn't stated");
  EXPECT_EQ(published("a,Llama 3.1 8B,,x,1,1,full,bf16,,,,,,,none,,1,10,,,torch,1,,,,,s,\n").unknown_memory,
            "the micro-batch isn't stated");
}

// Megatron's own flags, as a row's notes quote them.
TEST(MeasuredRows, MegatronsFlags) {
  const auto row = [](const std::string& name, int pipeline, const std::string& notes) {
    return published("a," + name + ",,H100,8,1,pretrain,bf16,adam,,1," + std::to_string(pipeline) +
                     ",1,1,selective,4,32,1024,,,Megatron-Core dev,3,,,,,s,\"h=512 a=8; " + notes + "\"\n");
  };
  using Chunks = std::vector<int64_t>;
  // The rest has to divide: the other end is like the one that is named.
  EXPECT_EQ(row("m", 4, "L=12; decoder-first-pipeline-num-layers=2").run.layout.chunk_layers, (Chunks{2, 4, 4, 2}));
  EXPECT_EQ(row("m", 4, "L=13; decoder-last-pipeline-num-layers=1").run.layout.chunk_layers, (Chunks{4, 4, 4, 1}));
  EXPECT_NE(row("m", 4, "L=13; decoder-first-pipeline-num-layers=2").unknown_memory, "");
  EXPECT_EQ(row("m_account_for_embedding_loss_in_split", 2, "L=6; num-virtual-stages-per-pipeline-rank=2")
                .run.layout.chunk_layers,
            (Chunks{1, 2, 2, 1}));
  const MeasuredRow drawn = row("m", 2, "L=8; pipeline-model-parallel-layout=Et*2|(tt|)*2tmL; mtp-num-layers=1");
  EXPECT_EQ(drawn.run.layout.chunk_layers.size(), 0u);  // 4 chunks would be, but 7 layers
  EXPECT_EQ(row("m", 2, "L=7; pipeline-model-parallel-layout=Et*2|(tt|)*2tmL").run.layout.chunk_layers,
            (Chunks{2, 2, 2, 1}));
  EXPECT_EQ(row("m", 2, "L=7; pipeline-model-parallel-layout=Et*2|(tt|)*2tmL").run.layout.virtual_stages, 2);
  EXPECT_EQ(drawn.run.recipe.further_tokens, 1);
  const RecomputeModules modules = row("m", 1, "L=4; recompute-modules=[layernorm moe_act]").run.recipe.modules;
  EXPECT_TRUE(modules.layernorm && modules.moe_act && !modules.core_attn && !modules.mlp);
  EXPECT_TRUE(row("m", 1, "L=4; num-experts=8").run.recipe.grouped_experts);
  EXPECT_FALSE(row("te_8experts2parallel", 1, "L=4; num-experts=8").run.recipe.grouped_experts);
  EXPECT_EQ(row("m_defer_embedding_wgrad_compute", 1, "L=4").run.recipe.deferred_logits, 0);
  for (const char* hostile :
       {"L=4; pipeline-model-parallel-layout=(((t*999999999999)*9", "L=4; pipeline-model-parallel-layout=|||||",
        "L=4; num-virtual-stages-per-pipeline-rank=999999999999", "L=4; decoder-first-pipeline-num-layers=99999999",
        "L=4; recompute-modules=[", "L=4; mtp-num-layers=999999999"})
    validate_rows({row("m", 2, hostile)}, {});
}

TEST(MeasuredRows, TorchtunesTableAddsASettingARow) {
  const auto row = [](const std::string& notes) {
    return published("a,Llama 3.2 3B,,A100,1,1,full,bf16,AdamW,none,1,1,,,full,2,,4096,,,torchtune,23,,,,,s,\"" +
                     notes + " (cumulative; peak memory ACTIVE)\"\n");
  };
  EXPECT_FALSE(row("+ Activation Checkpointing").run.recipe.step_in_backward);
  EXPECT_TRUE(row("+ Optimizer step in backward").run.recipe.step_in_backward);
  EXPECT_FALSE(row("+ Optimizer step in backward").run.recipe.offload_activations);
  EXPECT_TRUE(row("+ Activation Offloading").run.recipe.offload_activations);
  EXPECT_EQ(row("+ Activation Offloading").unknown_memory, "");
  EXPECT_NE(row("+ Something else").unknown_memory, "");
}

// What decides the bytes and isn't a column: who computes, where, and how long the samples really are.
TEST(MeasuredRows, HabitsOfStacks) {
  const MeasuredRow local = published(
      "a,gpt3_mcore_tp1_pp1,,H100,8,1,pretrain,bf16,adam,,1,1,1,1,none,4,32,1024,,,Megatron-Core dev,3,,,,,s,"
      "L=12 h=512 a=8; deterministic-mode=true\n");
  EXPECT_EQ(local.run.recipe.attention, AttentionKernel::math);
  const MeasuredRow engine = published(
      "a,gpt3_mcore_te_tp1_pp1,,H100,8,1,pretrain,bf16,adam,,1,1,1,1,none,4,32,1024,,,Megatron-Core dev,3,,,,,s,"
      "L=12 h=512 a=8; deterministic-mode=true\n");
  EXPECT_EQ(engine.run.recipe.attention, AttentionKernel::math);
  const MeasuredRow resumed = published(
      "a,gpt3_mcore_te_tp1_pp1_resume_torch_dist,,H100,8,1,pretrain,bf16,adam,,1,1,1,1,none,4,32,1024,,,Megatron-Core "
      "dev,3,,,,,s,L=12 h=512 a=8; deterministic-mode=true\n");
  EXPECT_EQ(resumed.run.recipe.attention, AttentionKernel::automatic);
  EXPECT_TRUE(resumed.run.recipe.maybe_scores);
  const MeasuredRow cut = published(
      "a,Qwen-7B,,A100,1,1,lora,bf16,,,,,,,full,1,,8192,8,qkv,ms-swift,48,,,,,s,"
      "\"dataset of 3234 tokens avg, truncated to max_length\"\n");
  EXPECT_EQ(cut.run.recipe.seq_len, 6468);
  const MeasuredRow autocast =
      published("a,Qwen-7B,,A100,1,1,lora,bf16,,,,,,,full,1,8,1024,64,all,transformers+PEFT+DeepSpeed,20,,,,,s,\n");
  EXPECT_EQ(autocast.run.recipe.compute, ComputeMode::amp_bf16);
  const MeasuredRow half = published(
      "a,Qwen-7B,,A100,1,1,qlora,int4 GPTQ + fp16,,,,,,,full,1,8,1024,64,all,transformers+PEFT+DeepSpeed,12,,,,,s,\n");
  EXPECT_EQ(half.run.recipe.compute, ComputeMode::f16);
  EXPECT_TRUE(half.run.recipe.half_loss);
}

// Kernels that may write the scores widen the interval upwards, not the figure.
TEST(MeasuredRows, ScoresThatMayBeThereAreInTheInterval) {
  const std::string row =
      "a,gpt3_mcore_te_tp1_pp1_resume_torch_dist,,H100,8,1,pretrain,bf16,adam,,1,1,1,1,none,4,32,1024,,,Megatron-Core "
      "dev,3,,,,,s,L=12 h=512 a=8;";
  const ValidatedFigure plain = validate_rows({published(row + "\n")}, {}).front();
  const ValidatedFigure maybe = validate_rows({published(row + " deterministic-mode=true\n")}, {}).front();
  EXPECT_EQ(plain.predicted, maybe.predicted);
  EXPECT_EQ(plain.low, maybe.low);
  EXPECT_GT(maybe.high, 1.5 * plain.high);
}

TEST(MeasuredRows, HostileNumbersAreReasonsNotCrashes) {
  for (const std::string_view number : {"1e300", "-5", "nan", "999999999999999999999", "99999999999999"}) {
    const std::string cell(number);
    const MeasuredRow row =
        published("a,Llama 3.1 8B,,x,1,1,full,bf16,,," + cell + "," + cell + "," + cell + "," + cell + ",none," + cell +
                  "," + cell + "," + cell + "," + cell + ",,torch,1,,,,,s,h=" + cell + " L=" + cell + "\n");
    const std::vector<ValidatedFigure> figures = validate_rows({row}, {});
    ASSERT_EQ(figures.size(), 1u);
  }
}

TEST(MeasuredRows, OtherTablesAreRefused) {
  EXPECT_THROW(read_measured_rows(parse_csv("a,b\n1,2\n", "x.csv"), ".", "x.csv"), Error);
}

TEST(Validation, SummariesAndRows) {
  std::vector<ValidatedFigure> figures(4);
  for (size_t i = 0; i < 4; ++i) {
    figures[i].id = "row-" + std::to_string(i);
    figures[i].source = "somebody";
    figures[i].quantity = "memory_gib";
    figures[i].measured = 100;
    figures[i].predicted = 100 + 10 * static_cast<double>(i);
    figures[i].low = figures[i].predicted - 15;
    figures[i].high = figures[i].predicted + 15;
    figures[i].used = i < 3;
  }
  figures[3].reason = "too odd, \"really\"";
  const std::vector<ErrorSummary> summaries = summarize(figures);
  ASSERT_EQ(summaries.size(), 2u);
  const ErrorSummary& all = summaries[0].source.empty() ? summaries[0] : summaries[1];
  EXPECT_EQ(all.used, 3u);
  EXPECT_EQ(all.left_out, 1u);
  EXPECT_DOUBLE_EQ(all.median, 0.1);
  EXPECT_DOUBLE_EQ(all.worst, 0.2);
  EXPECT_EQ(all.worst_id, "row-2");
  EXPECT_EQ(all.inside, 2u);
  EXPECT_EQ(validation_csv(figures),
            "id,quantity,measured,predicted,low,high,used,reason\n"
            "row-0,memory_gib,100,100,85,115,yes,\n"
            "row-1,memory_gib,100,110,95,125,yes,\n"
            "row-2,memory_gib,100,120,105,135,yes,\n"
            "row-3,memory_gib,100,,,,no,\"too odd, \"\"really\"\"\"\n");
}

}  // namespace
}  // namespace plimsoll
