// Axolotl, LLaMA-Factory and Unsloth: one file that names model, method and data. What only the user knows (data,
// learning rate) stands there as a marked place.
#include <fmt/format.h>

#include "handover/handover_text.h"

namespace plimsoll::handover {
namespace {

// Hub ids and folders have a slash; a name without one is of our catalogue, which those projects do not know.
std::string model_value(const HandoverPlan& plan) {
  return in_quotes(plan.model) +
         (plan.model.find('/') == std::string::npos ? "  # yours: its hub id (org/name) or folder" : "");
}

// What people start with; no part of the plan.
const char* usual_rate(const HandoverPlan& plan) { return plan.method == "lora" ? "0.0002" : "0.00001"; }

}  // namespace

std::string axolotl(const HandoverPlan& plan) {
  if (plan.pipeline > 1) refuse("axolotl", "it has no pipeline", "--to megatron or torchtitan");
  if (plan.expert > 1) refuse("axolotl", "the plan spreads experts", "--to megatron or torchtitan");
  if (plan.zero_stage == 1 && plan.tensor * plan.context > 1)
    refuse("axolotl", "ZeRO-1 beside tensor or context parallelism", "--to megatron");
  std::string text = fmt::format(
      "base_model: {}\nsequence_len: {}\nmicro_batch_size: {}\ngradient_accumulation_steps: {}\nnum_epochs: 1\n"
      "learning_rate: {}  # yours\nbf16: true\nattn_implementation: flash_attention_2\nsample_packing: {}\n"
      "pad_to_sequence_len: true\ngradient_checkpointing: {}\noptimizer: adamw_torch_fused\n"
      "datasets:\n  - path: your_dataset.jsonl  # yours\n    type: chat_template\noutput_dir: ./run\n",
      model_value(plan), plan.seq_len, plan.micro_batch, plan.grad_accum_steps, usual_rate(plan),
      yes(plan.context == 1 || plan.micro_batch == 1), yes(plan.recompute && plan.zero_stage < 2));
  if (plan.method == "lora") {
    text += fmt::format("adapter: {}\nlora_r: {}\nlora_alpha: {}\nlora_dropout: 0.0\n",
                        plan.base == "4bit" ? "qlora" : "lora", plan.rank, 2 * plan.rank);
    if (all_linear(plan)) text += "lora_target_linear: true\n";
    else text += "lora_target_modules: " + quoted_list(plan.targets) + "\n";
    if (plan.base == "4bit") text += "load_in_4bit: true\n";
    if (plan.base == "8bit") text += "load_in_8bit: true\n";
  }
  if (plan.zero_stage == 1) text += "deepspeed: ds_config.json  # plimsoll export PLAN --to deepspeed\n";
  if (plan.tensor > 1) text += fmt::format("tensor_parallel_size: {}\n", plan.tensor);
  if (plan.context > 1) text += fmt::format("context_parallel_size: {}\n", plan.context);
  if (plan.zero_stage >= 2)
    text += fmt::format(
        "dp_shard_size: {}\nfsdp_config:\n  fsdp_version: 2\n  auto_wrap_policy: TRANSFORMER_BASED_WRAP\n"
        "  reshard_after_forward: {}\n  activation_checkpointing: {}\n  state_dict_type: SHARDED_STATE_DICT\n",
        plan.data, yes(plan.zero_stage == 3), yes(plan.recompute));
  return text;
}

std::string llama_factory(const HandoverPlan& plan) {
  require_data_only(plan, "llama-factory");
  std::string text = fmt::format(
      "model_name_or_path: {}\nstage: sft\ndo_train: true\nfinetuning_type: {}\ncutoff_len: {}\n"
      "per_device_train_batch_size: {}\ngradient_accumulation_steps: {}\nnum_train_epochs: 1.0\n"
      "learning_rate: {}  # yours\nbf16: true\nflash_attn: fa2\noptim: adamw_torch_fused\n"
      "disable_gradient_checkpointing: {}\ndataset: your_dataset  # yours\ntemplate: default  # yours\n"
      "output_dir: ./run\n",
      model_value(plan), plan.method, plan.seq_len, plan.micro_batch, plan.grad_accum_steps, usual_rate(plan),
      yes(!plan.recompute));
  if (plan.method == "lora") {
    text += fmt::format("lora_rank: {}\nlora_alpha: {}\nlora_target: {}\n", plan.rank, 2 * plan.rank,
                        in_quotes(all_linear(plan) ? "all" : fmt::format("{}", fmt::join(plan.targets, ","))));
    if (plan.base != "16bit")
      text += fmt::format("quantization_bit: {}\nquantization_method: bnb\n", plan.base == "4bit" ? 4 : 8);
    if (plan.base != "16bit" && plan.zero_stage == 3)
      refuse("llama-factory", "ZeRO-3 of a quantized base", "--to axolotl, or a plan with ZeRO-1 or 2");
  }
  if (plan.zero_stage > 0) text += "deepspeed: ds_config.json  # plimsoll export PLAN --to deepspeed\n";
  return text;
}

std::string unsloth(const HandoverPlan& plan) {
  if (plan.devices() > 1) refuse("unsloth", "it runs on one device", "--to axolotl or accelerate-fsdp");
  if (plan.base == "8bit") refuse("unsloth", "its command has bases of 16 or 4 bits", "--to axolotl or llama-factory");
  std::string text = fmt::format(
      "model: {}\ndata:\n  dataset: your_dataset  # yours\ntraining:\n  training_type: {}\n  max_seq_length: {}\n"
      "  load_in_4bit: {}\n  batch_size: {}\n  gradient_accumulation_steps: {}\n  num_epochs: 1\n"
      "  learning_rate: {}  # yours\n  packing: true\n  gradient_checkpointing: {}\n  output_dir: ./run\n",
      model_value(plan), plan.method == "lora" ? "lora" : "full", plan.seq_len, yes(plan.base == "4bit"),
      plan.micro_batch, plan.grad_accum_steps, usual_rate(plan), plan.recompute ? "unsloth" : "none");
  if (plan.method == "lora")
    text += fmt::format("lora:\n  lora_r: {}\n  lora_alpha: {}\n  lora_dropout: 0.0\n  target_modules: {}\n", plan.rank,
                        2 * plan.rank,
                        in_quotes(all_linear(plan) ? "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj"
                                                   : fmt::format("{}", fmt::join(plan.targets, ","))));
  return text;
}

}  // namespace plimsoll::handover
