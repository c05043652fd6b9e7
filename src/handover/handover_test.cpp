#include "handover/handover.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace plimsoll {
namespace {

HandoverPlan simple() {
  HandoverPlan plan;
  plan.model = "llama-3.1-8b";
  plan.device = "h100-80g";
  plan.method = "full";
  plan.base = "16bit";
  plan.targets = {"all-linear"};
  plan.data = 8;
  plan.zero_stage = 3;
  plan.micro_batch = 2;
  plan.grad_accum_steps = 4;
  plan.recompute = true;
  return plan;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Handover, EveryTargetStartsThePlanThatWasComputed) {
  const HandoverPlan plan = simple();
  const auto ds = nlohmann::json::parse(handover_config(plan, "deepspeed"));
  EXPECT_EQ(ds["train_batch_size"], 64);
  EXPECT_EQ(ds["train_micro_batch_size_per_gpu"].get<int>() * ds["gradient_accumulation_steps"].get<int>() * 8, 64);
  EXPECT_EQ(ds["zero_optimization"]["stage"], 3);
  EXPECT_TRUE(has(handover_config(plan, "accelerate-fsdp"), "num_processes: 8\n"));
  EXPECT_TRUE(has(handover_config(plan, "torchtitan"), "data_parallel_shard_degree = 8\n"));
  EXPECT_TRUE(has(handover_config(plan, "axolotl"), "micro_batch_size: 2\n"));
  EXPECT_TRUE(has(handover_config(plan, "llama-factory"), "finetuning_type: full\n"));
  EXPECT_TRUE(has(handover_config(plan, "torchtune"), "--nproc_per_node 8 full_finetune_distributed"));
  EXPECT_TRUE(has(handover_config(plan, "slurm"), "#SBATCH --gpus-per-node=8\n"));
  EXPECT_TRUE(has(handover_config(plan, "kubernetes"), "nvidia.com/gpu: 8\n"));
  EXPECT_TRUE(has(handover_config(plan, "skypilot"), "accelerators: H100:8\n"));
}

TEST(Handover, MegatronTakesWhatOthersRefuse) {
  HandoverPlan plan = simple();
  plan.zero_stage = 1, plan.data = 2, plan.tensor = 4, plan.pipeline = 2, plan.virtual_stages = 4;
  const std::string text = handover_config(plan, "megatron");
  for (const char* part : {"--tensor-model-parallel-size 4\n", "--pipeline-model-parallel-size 2\n",
                           "--global-batch-size 16\n", "--sequence-parallel\n", "--use-distributed-optimizer\n",
                           "--num-virtual-stages-per-pipeline-rank 4\n", "--recompute-granularity full\n"})
    EXPECT_TRUE(has(text, part)) << part;
  for (const char* target : {"deepspeed", "accelerate-fsdp", "axolotl", "llama-factory", "unsloth", "torchtune"})
    EXPECT_THROW(handover_config(plan, target), Error) << target;
  EXPECT_THROW(handover_config(simple(), "megatron"), Error);  // ZeRO-3
  EXPECT_THROW(handover_config(simple(), "megatorn"), Error);
}

TEST(Handover, AdaptersAndWidthsOfTheBase) {
  HandoverPlan plan = simple();
  plan.method = "lora", plan.base = "4bit", plan.rank = 8, plan.data = 1, plan.zero_stage = 0;
  EXPECT_TRUE(has(handover_config(plan, "axolotl"), "adapter: qlora\nlora_r: 8\n"));
  EXPECT_TRUE(has(handover_config(plan, "llama-factory"), "quantization_bit: 4\n"));
  EXPECT_TRUE(has(handover_config(plan, "unsloth"), "--load_in_4bit"));
  EXPECT_THROW(handover_config(plan, "torchtitan"), Error);
}

TEST(Handover, NamesAreQuoted) {
  HandoverPlan plan = simple();
  plan.model = "x\"\nevil: true";
  EXPECT_FALSE(has(handover_config(plan, "axolotl"), "\nevil: true"));
}

TEST(Handover, OnlyPlansOfASearchAreRead) {
  EXPECT_THROW(parse_search_plan("{}", "x", 0), Error);
  EXPECT_THROW(parse_search_plan("[", "x", 0), Error);
  const std::string none = R"({"kind":"search","model":"m","device":"d","recipe":{},"pareto":[],"best":[]})";
  EXPECT_THROW(parse_search_plan(none, "x", 0), Error);
}

}  // namespace
}  // namespace plimsoll
