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
  EXPECT_TRUE(has(handover_config(plan, "torchtitan"), "--parallelism.data_parallel_shard_degree 8 "));
  EXPECT_TRUE(has(handover_config(plan, "axolotl"), "micro_batch_size: 2\n"));
  EXPECT_TRUE(has(handover_config(plan, "llama-factory"), "finetuning_type: full\n"));
  EXPECT_TRUE(has(handover_config(plan, "torchtune"), "--nproc_per_node 8 full_finetune_distributed"));
  EXPECT_TRUE(has(handover_config(plan, "slurm"), "#SBATCH --gpus-per-node=8\n"));
  EXPECT_TRUE(has(handover_config(plan, "kubernetes"), "nvidia.com/gpu: \"8\"\n"));
  EXPECT_TRUE(has(handover_config(plan, "skypilot"), "accelerators: H100:8\n"));
}

// What the projects' schemas ask for (tests/interop/export_schemas.py reads them with those): a field that is lost here
// would only show there, and that is run by hand.
TEST(Handover, FieldsThatLoadersRequire) {
  HandoverPlan plan = simple();
  const auto keep = [&](std::string_view target, std::initializer_list<const char*> fields) {
    const std::string text = handover_config(plan, target);
    for (const char* field : fields) EXPECT_TRUE(has(text, field)) << target << ": " << field;
  };
  keep("accelerate-fsdp", {"distributed_type: FSDP\n", "fsdp_version: 2\n", "fsdp_reshard_after_forward: true\n",
                           "fsdp_activation_checkpointing: true\n", "debug: false\n"});
  keep("axolotl", {"learning_rate: ", "datasets:\n  - path: ", "num_epochs: 1\n", "dp_shard_size: 8\n",
                   "  fsdp_version: 2\n", "  activation_checkpointing: true\n", "gradient_checkpointing: false\n"});
  keep("llama-factory", {"template: ", "output_dir: ", "deepspeed: ds_config.json", "optim: adamw_torch_fused\n"});
  keep("torchtune", {"_component_: torchtune.models.llama3_1.llama3_1_8b\n",
                     "_component_: torchtune.models.llama3.llama3_tokenizer\n", "  max_seq_len: 4096\n",
                     "  model_type: LLAMA3\n", "resume_from_checkpoint: false\n", "max_steps_per_epoch: null\n",
                     "optimizer_in_bwd: false\n", "fsdp_reshard_after_forward: true\n", "log_every_n_steps: 1\n"});
  keep("torchtitan",
       {"--module llama3 --config llama3_8b ", "--training.local_batch_size 2 ", "--training.global_batch_size 64 ",
        "fsdp_reshard_after_forward always ", "activation-checkpoint:full\n"});
  plan.data = 1, plan.zero_stage = 0;
  keep("unsloth", {"model: \"llama-3.1-8b\"", "  training_type: full\n", "  gradient_checkpointing: unsloth\n",
                   "  load_in_4bit: false\n"});
  keep("accelerate-fsdp", {"distributed_type: 'NO'\n"});
  keep("torchtune", {"full_finetune_single_device"});
}

TEST(Handover, SeveralNodesFindEachOther) {
  HandoverPlan plan = simple();
  plan.data = 16;
  const std::string job = handover_config(plan, "kubernetes");
  for (const char* part : {"kind: Service\n", "clusterIP: None\n", "batch.kubernetes.io/job-name: plimsoll\n",
                           "subdomain: plimsoll\n", "completions: 2\n"})
    EXPECT_TRUE(has(job, part)) << part;
  EXPECT_FALSE(has(handover_config(simple(), "kubernetes"), "Service"));
  EXPECT_TRUE(has(handover_config(plan, "accelerate-fsdp"), "main_process_ip: "));
  EXPECT_TRUE(has(handover_config(plan, "slurm"), "#SBATCH --nodes=2\n"));
}

TEST(Handover, NodesGetAsManyProcessesAsThePlanHas) {
  HandoverPlan plan = simple();
  plan.data = 21;
  EXPECT_TRUE(has(handover_config(plan, "slurm"), "#SBATCH --nodes=3\n"));
  EXPECT_TRUE(has(handover_config(plan, "slurm"), "--nproc-per-node=7 "));
  EXPECT_TRUE(has(handover_config(plan, "kubernetes"), "nvidia.com/gpu: \"7\"\n"));
  EXPECT_TRUE(has(handover_config(plan, "skypilot"), "accelerators: H100:7\n"));
  EXPECT_TRUE(has(handover_config(plan, "torchtitan"), "--nnodes=3 --nproc-per-node=7 "));
  plan.data = 22;
  for (const char* target : {"slurm", "kubernetes", "skypilot", "torchtitan", "torchtune", "accelerate-fsdp"}) {
    try {
      handover_config(plan, target);
      ADD_FAILURE() << target;
    } catch (const Error& error) {
      EXPECT_TRUE(has(error.way_out(), "21 or 24")) << error.way_out();
    }
  }
}

TEST(Handover, SaysWhatTheUserMustAdd) {
  HandoverPlan plan = simple();
  const auto noted = [&](const char* target, const char* part) {
    for (const std::string& note : handover_notes(plan, target))
      if (has(note, part)) return true;
    return false;
  };
  for (const char* target : {"deepspeed", "slurm", "kubernetes", "skypilot"})
    EXPECT_TRUE(noted(target, "gradient_checkpointing=True")) << target;
  EXPECT_FALSE(noted("accelerate-fsdp", "checkpointing"));  // its file says so
  EXPECT_TRUE(handover_notes(plan, "axolotl").empty());
  plan.recompute = false;
  EXPECT_FALSE(noted("deepspeed", "checkpointing"));
  plan.method = "lora";
  EXPECT_TRUE(noted("deepspeed", "LoRA of rank 16"));
  plan = simple();
  plan.zero_stage = 1;
  const std::string bare = handover_config(plan, "megatron");
  for (const char* part : {"# yours: --train-iters\n", "# yours: --lr ", "--data-path", "--tokenizer-type"})
    EXPECT_TRUE(has(bare, part)) << part;
  EXPECT_FALSE(has(handover_config(plan, "slurm"), "--time"));
  plan.steps = 400, plan.hours = 10;
  EXPECT_TRUE(has(handover_config(plan, "megatron"), "\n--train-iters 400\n"));
  EXPECT_TRUE(has(handover_config(plan, "slurm"), "#SBATCH --time=13:00:00"));
}

TEST(Handover, DevicesHaveSkyPilotsNames) {
  HandoverPlan plan = simple();
  for (const auto& [device, name] : {std::pair{"rtx6000-ada", "RTX6000-Ada:8"},
                                     {"a100-80g", "A100-80GB:8"},
                                     {"v100-32g", "V100-32GB:8"},
                                     {"h100-80g-pcie", "H100:8"}}) {
    plan.device = device;
    EXPECT_TRUE(has(handover_config(plan, "skypilot"), name)) << device;
  }
  plan.device = "apple-m1";
  EXPECT_THROW(handover_config(plan, "skypilot"), Error);
}

TEST(Handover, EnginesRefuseModelsAndBasesThatTheyLack) {
  HandoverPlan plan = simple();
  plan.model = "opt-13b";
  EXPECT_THROW(handover_config(plan, "torchtitan"), Error);
  EXPECT_THROW(handover_config(plan, "torchtune"), Error);
  plan.model = "llama-3.1-405b";
  EXPECT_THROW(handover_config(plan, "torchtitan"), Error);  // its entry is fp8
  plan = simple();
  plan.method = "lora", plan.base = "8bit";
  EXPECT_THROW(handover_config(plan, "torchtune"), Error);
  EXPECT_THROW(handover_config(plan, "llama-factory"), Error);  // ZeRO-3 of a quantized base
  plan.base = "16bit", plan.targets = {"gate_proj"};
  EXPECT_THROW(handover_config(plan, "torchtune"), Error);
  plan.zero_stage = 1, plan.tensor = 2;
  EXPECT_THROW(handover_config(plan, "axolotl"), Error);
}

TEST(Handover, MegatronGetsTheModelsShape) {
  HandoverPlan plan = simple();
  plan.zero_stage = 1;
  EXPECT_TRUE(has(handover_config(plan, "megatron"), "--use-checkpoint-args\n"));
  plan.config.emplace();
  plan.config->layers = 32, plan.config->hidden_size = 4096, plan.config->heads = 32, plan.config->kv_heads = 8;
  plan.config->head_dim = 128, plan.config->intermediate_size = 14336, plan.config->rope.theta = 500000;
  const std::string text = handover_config(plan, "megatron");
  for (const char* part : {"--num-layers 32\n", "--num-query-groups 8\n", "--ffn-hidden-size 14336\n", "--swiglu\n",
                           "--rotary-base 500000\n", "--hidden-dropout 0\n", "--attention-dropout 0\n",
                           "--untie-embeddings-and-output-weights\n"})
    EXPECT_TRUE(has(text, part)) << part;
  plan.config->positions = PositionKind::learned;  // nothing that these arguments say
  EXPECT_TRUE(has(handover_config(plan, "megatron"), "--use-checkpoint-args\n"));
}

TEST(Handover, MegatronHearsOfUnevenStages) {
  HandoverPlan plan = simple();
  plan.zero_stage = 1, plan.pipeline = 4, plan.layers = 30;
  EXPECT_TRUE(has(handover_config(plan, "megatron"), "--pipeline-model-parallel-layout Et*7|t*8|t*8|t*7L\n"));
  plan.layers = 32;
  EXPECT_FALSE(has(handover_config(plan, "megatron"), "layout"));
}

TEST(Handover, TorchtitanCutsLayersAsThePlanDoes) {
  HandoverPlan plan = simple();
  plan.zero_stage = 0, plan.data = 1, plan.pipeline = 4, plan.virtual_stages = 2, plan.layers = 32;
  const std::string text = handover_config(plan, "torchtitan");
  for (const char* part :
       {"pipeline_parallel_layers_per_stage 4 ", "pipeline_parallel_schedule Interleaved1F1B ",
        "--training.local_batch_size 8 ", "pipeline_parallel_microbatch_size 2 ", "--training.disable_cuda_graphs "})
    EXPECT_TRUE(has(text, part)) << part;
  plan.layers = 30;
  EXPECT_THROW(handover_config(plan, "torchtitan"), Error);
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
  EXPECT_TRUE(has(handover_config(plan, "unsloth"), "  load_in_4bit: true\n"));
  EXPECT_THROW(handover_config(plan, "torchtitan"), Error);
}

// What a search for a target may find, the target starts.
TEST(Handover, LimitsAreWhatIsNotRefused) {
  for (const HandoverTarget& target : handover_targets()) {
    const LayoutLimits limits = handover_limits(target.name);
    int64_t tried = 0;
    for (int code = 0; code < 4 * 64; ++code) {
      HandoverPlan plan = simple();
      const auto bit = [&](int at) { return (code >> at) % 2 != 0; };
      plan.zero_stage = code >> 6;
      plan.data = bit(0) ? 8 : 1;
      plan.tensor = bit(1) ? 2 : 1, plan.pipeline = bit(2) ? 2 : 1, plan.context = bit(3) ? 2 : 1;
      plan.expert = bit(4) ? 2 : 1, plan.virtual_stages = bit(5) ? 2 : 1;
      const bool cuts = plan.data * plan.context > 1;
      if ((!cuts && plan.zero_stage > 0) || (plan.zero_stage >= 2 && plan.pipeline > 1)) continue;
      if ((plan.virtual_stages > 1 && plan.pipeline == 1) || (plan.expert > plan.data)) continue;
      const bool allowed = (plan.tensor == 1 || limits.tensor) && (plan.pipeline == 1 || limits.pipeline) &&
                           (plan.context == 1 || limits.context) && (plan.expert == 1 || limits.expert) &&
                           (plan.virtual_stages == 1 || limits.virtual_stages) &&
                           (!cuts || limits.zero[static_cast<size_t>(plan.zero_stage)]) &&
                           (limits.most_devices == 0 || plan.devices() <= limits.most_devices);
      if (!allowed) continue;
      ++tried;
      EXPECT_NO_THROW(handover_config(plan, target.name)) << target.name << " " << code;
    }
    EXPECT_GT(tried, 0) << target.name;
  }
  EXPECT_THROW(handover_limits("megatorn"), Error);
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

// A plan may come from anybody: its words end up in files that others run, its sizes in loops and products.
TEST(Handover, PlansThatNoSearchWroteAreRefused) {
  const auto plan = nlohmann::json::parse(R"({"kind":"search","model":"m","device":"h100-80g","layers":32,
      "node_devices":8,"recipe":{"method":"full","base":"16bit","rank":16,"targets":"all-linear","seq_len":4096},
      "pareto":[{"devices":1,"tokens_per_second":1.0,"micro_batch":1,"grad_accum_steps":1,"recompute":"none","layout":
      {"data":1,"tensor":1,"pipeline":1,"context":1,"expert":1,"virtual_stages":1,"zero_stage":0}}],"best":[]})");
  EXPECT_EQ(parse_search_plan(plan.dump(), "x", 0).devices(), 1);
  auto timed = plan;
  timed["pareto"][0]["step_seconds"] = 36.0, timed["pareto"][0]["hours"] = 0.01;
  EXPECT_EQ(parse_search_plan(timed.dump(), "x", 0).steps, 0);  // of one step
  timed["pareto"][0]["hours"] = 2.0;
  EXPECT_EQ(parse_search_plan(timed.dump(), "x", 0).steps, 200);
  const auto refused = [&](const char* where, const nlohmann::json& value) {
    auto changed = plan;
    changed[nlohmann::json::json_pointer(where)] = value;
    EXPECT_THROW(parse_search_plan(changed.dump(), "x", 0), Error) << where << " " << value;
  };
  refused("/recipe/method", "full\nevil: true");
  refused("/recipe/base", "2bit");
  refused("/pareto/0/recompute", "some");
  for (const char* name : {"data", "tensor", "pipeline", "context", "expert", "virtual_stages"}) {
    refused(std::string("/pareto/0/layout/").append(name).c_str(), 0);
    refused(std::string("/pareto/0/layout/").append(name).c_str(), 1e300);
    refused(std::string("/pareto/0/layout/").append(name).c_str(), 1.5);
  }
  for (const char* where :
       {"/pareto/0/micro_batch", "/pareto/0/grad_accum_steps", "/recipe/rank", "/recipe/seq_len", "/node_devices"})
    refused(where, 0), refused(where, INT64_MAX);
  refused("/pareto/0/layout/virtual_stages", 1 << 15);  // stages without layers
  auto many = plan;
  many["pareto"][0]["layout"]["data"] = many["pareto"][0]["layout"]["tensor"] = 1 << 15;
  EXPECT_THROW(parse_search_plan(many.dump(), "x", 0), Error);
}

}  // namespace
}  // namespace plimsoll
