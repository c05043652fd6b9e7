// DeepSpeed, Accelerate and torchtitan. Keys are checked against the projects' own loaders by
// tests/interop/export_schemas.py.
#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "handover/handover_text.h"

namespace plimsoll::handover {
namespace {

using Json = nlohmann::ordered_json;

// torchtitan trains what its registry names: module, entry.
struct TitanModel {
  std::string_view model, module, entry;
};
constexpr std::array kTitanModels = {
    TitanModel{"llama-3.1-8b", "llama3", "llama3_8b"},
    TitanModel{"llama-3.1-70b", "llama3", "llama3_70b"},
    TitanModel{"llama-3.3-70b", "llama3", "llama3_70b"},
    TitanModel{"qwen3-0.6b", "qwen3", "qwen3_0_6b"},
    TitanModel{"qwen3-1.7b", "qwen3", "qwen3_1_7b"},
    TitanModel{"qwen3-14b", "qwen3", "qwen3_14b"},
    TitanModel{"qwen3-32b", "qwen3", "qwen3_32b"},
    TitanModel{"qwen3-30b-a3b", "qwen3", "qwen3_30b_a3b"},
    TitanModel{"gpt-oss-20b", "gpt_oss", "gpt_oss_20b"},
    TitanModel{"gpt-oss-120b", "gpt_oss", "gpt_oss_120b"},
    TitanModel{"deepseek-v3", "deepseek_v3", "deepseek_v3_671b"},
};

const TitanModel& titan_model(const HandoverPlan& plan) {
  std::string known;
  for (const TitanModel& each : kTitanModels) {
    if (each.model == plan.model) return each;
    known += (known.empty() ? "" : ", ") + std::string(each.model);
  }
  if (plan.model == "llama-3.1-405b")
    refuse("torchtitan", "its entry for this model trains in fp8, the plan in bf16", "--to megatron");
  refuse("torchtitan", "its registry has no entry for this model", "--to megatron; it has " + known);
}

}  // namespace

std::string deepspeed(const HandoverPlan& plan) {
  require_data_only(plan, "deepspeed");
  Json zero = {{"stage", plan.zero_stage}};
  if (plan.zero_stage > 0) zero.update({{"overlap_comm", true}, {"contiguous_gradients", true}});
  if (plan.zero_stage == 3) zero["stage3_gather_16bit_weights_on_model_save"] = true;
  const Json config = {{"train_batch_size", plan.global_batch()},
                       {"train_micro_batch_size_per_gpu", plan.micro_batch},
                       {"gradient_accumulation_steps", plan.grad_accum_steps},
                       {"gradient_clipping", 1.0},
                       {"bf16", {{"enabled", true}}},
                       {"zero_optimization", zero}};
  return config.dump(2) + "\n";
}

std::string accelerate_fsdp(const HandoverPlan& plan) {
  require_data_only(plan, "accelerate-fsdp");
  if (plan.zero_stage == 1)
    refuse("accelerate-fsdp", "FSDP cuts gradients with the optimizer's states, ZeRO-1 does not", "--to deepspeed");
  require_even_nodes(plan, "accelerate-fsdp");
  std::string text = fmt::format(
      "# micro-batch {}, {} gradient accumulation steps: set both in your script\n"
      "compute_environment: LOCAL_MACHINE\ndebug: false\ndistributed_type: {}\nmixed_precision: bf16\n"
      "num_machines: {}\nnum_processes: {}\nmachine_rank: 0\nmain_training_function: main\nrdzv_backend: {}\n"
      "same_network: true\nuse_cpu: false\n",
      plan.micro_batch, plan.grad_accum_steps,
      plan.devices() == 1    ? "'NO'"  // unquoted it is YAML's false
      : plan.zero_stage == 0 ? "MULTI_GPU"
                             : "FSDP",
      plan.nodes(), plan.devices(), plan.nodes() > 1 ? "c10d" : "static");
  if (plan.nodes() > 1) text += "main_process_ip: your-first-node\nmain_process_port: 29500\n";
  if (plan.zero_stage > 0)
    text += fmt::format(
        "fsdp_config:\n  fsdp_version: 2\n  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP\n"
        "  fsdp_reshard_after_forward: {}\n  fsdp_activation_checkpointing: {}\n  fsdp_offload_params: false\n"
        "  fsdp_cpu_ram_efficient_loading: true\n  fsdp_state_dict_type: SHARDED_STATE_DICT\n",
        yes(plan.zero_stage == 3), yes(plan.recompute));
  return text;
}

// From version 0.3 on, torchtitan takes an entry of its registry and flags over it, no file.
std::string torchtitan(const HandoverPlan& plan) {
  if (plan.method != "full") refuse("torchtitan", "it trains all weights", "--to axolotl, llama-factory or torchtune");
  if (plan.zero_stage == 1) refuse("torchtitan", "it cuts by FSDP, not by ZeRO-1", "--to megatron or deepspeed");
  const TitanModel& model = titan_model(plan);
  const int64_t shard = plan.zero_stage >= 2 ? plan.data : 1, replicate = plan.zero_stage >= 2 ? 1 : plan.data;
  require_even_nodes(plan, "torchtitan");
  std::string text = fmt::format(
      "#!/bin/sh\n# torchtitan 0.3 or later. Run it on every node, with HEAD the first one's address.\n"
      "exec torchrun --nnodes={} --nproc-per-node={} --rdzv-backend=c10d "
      "--rdzv-endpoint=\"${{HEAD:-localhost}}:29500\" \\\n"
      "  -m torchtitan.train --module {} --config {} \\\n",
      plan.nodes(), plan.per_node(), model.module, model.entry);
  const auto flag = [&](std::string_view name, const auto& value) {
    text += fmt::format("  --{} {} \\\n", name, value);
  };
  // With a pipeline the local batch is what goes through it in a step.
  flag("training.local_batch_size", plan.micro_batch * (plan.pipeline > 1 ? plan.grad_accum_steps : 1));
  flag("training.global_batch_size", plan.global_batch());
  flag("training.seq_len", plan.seq_len);
  flag("training.mixed_precision_param", "bfloat16");
  flag("training.mixed_precision_reduce", "float32");
  flag("parallelism.data_parallel_replicate_degree", replicate);
  flag("parallelism.data_parallel_shard_degree", shard);
  flag("parallelism.fsdp_reshard_after_forward", plan.zero_stage == 3 ? "always" : "never");
  flag("parallelism.tensor_parallel_degree", plan.tensor);
  flag("parallelism.context_parallel_degree", plan.context);
  flag("parallelism.expert_parallel_degree", plan.expert);
  flag("parallelism.pipeline_parallel_degree", plan.pipeline);
  if (plan.pipeline > 1 || plan.expert > 1) text += "  --training.disable_cuda_graphs \\\n";
  if (plan.pipeline > 1) {
    flag("parallelism.pipeline_parallel_schedule", plan.virtual_stages > 1 ? "Interleaved1F1B" : "1F1B");
    flag("parallelism.pipeline_parallel_microbatch_size", plan.micro_batch);
    const int64_t stages = plan.pipeline * plan.virtual_stages;
    if (plan.layers > 0 && plan.layers % stages == 0) {
      flag("parallelism.pipeline_parallel_first_stage_less_layers", 0);
      flag("parallelism.pipeline_parallel_last_stage_less_layers", 0);
      flag("parallelism.pipeline_parallel_layers_per_stage", plan.layers / stages);
    } else if (plan.virtual_stages > 1) {
      refuse("torchtitan", fmt::format("{} stages do not divide its layers", stages), "--to megatron");
    }
  }
  text += fmt::format("  activation-checkpoint:{}\n", plan.recompute ? "full" : "none");
  return text;
}

}  // namespace plimsoll::handover
