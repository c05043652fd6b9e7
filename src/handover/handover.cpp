#include "handover/handover.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"

namespace plimsoll {
namespace {

using Json = nlohmann::ordered_json;

// In YAML and TOML, text is always quoted as in JSON.
std::string in_quotes(std::string_view text) {
  return Json(std::string(text)).dump(-1, ' ', false, Json::error_handler_t::replace);
}
const char* yes(bool value) { return value ? "true" : "false"; }

[[noreturn]] void refuse(std::string_view engine, const std::string& what, const std::string& way_out) {
  throw caller_error(fmt::format("--to {}", engine), "cannot start this plan: " + what, way_out);
}

// Engines that only know data parallelism.
void require_data_only(const HandoverPlan& plan, std::string_view engine) {
  if (plan.tensor > 1 || plan.pipeline > 1 || plan.context > 1 || plan.expert > 1)
    refuse(engine, "it cuts the model by tensor, pipeline, context or expert parallelism",
           "--to megatron or torchtitan, or choose a plan of data parallelism alone with --devices");
}

std::string list(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "" : ", ") + in_quotes(item);
  return "[" + text + "]";
}

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
  return fmt::format(
      "compute_environment: LOCAL_MACHINE\ndistributed_type: {}\nmixed_precision: bf16\nnum_machines: "
      "{}\nnum_processes: "
      "{}\nmachine_rank: 0\nmain_training_function: main\nrdzv_backend: static\nsame_network: true\nuse_cpu: false\n{}",
      plan.zero_stage == 0 ? "MULTI_GPU" : "FSDP", plan.nodes(), plan.devices(),
      plan.zero_stage == 0
          ? ""
          : fmt::format("fsdp_config:\n  fsdp_version: 2\n  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP\n  "
                        "fsdp_reshard_after_forward: {}\n  fsdp_activation_checkpointing: {}\n  fsdp_offload_params: "
                        "false\n  fsdp_cpu_ram_efficient_loading: true\n  fsdp_state_dict_type: SHARDED_STATE_DICT\n",
                        yes(plan.zero_stage == 3), yes(plan.recompute)));
}

std::string torchtitan(const HandoverPlan& plan) {
  if (plan.method != "full") refuse("torchtitan", "it trains all weights", "--to axolotl, llama-factory or torchtune");
  if (plan.zero_stage == 1) refuse("torchtitan", "it cuts by FSDP, not by ZeRO-1", "--to megatron or deepspeed");
  const int64_t shard = plan.zero_stage >= 2 ? plan.data : 1, replicate = plan.zero_stage >= 2 ? 1 : plan.data;
  return fmt::format(
      "[model]\nname = {}\n\n[training]\nlocal_batch_size = {}\nglobal_batch_size = {}\nseq_len = {}\n"
      "mixed_precision_param = \"bfloat16\"\nmixed_precision_reduce = \"float32\"\n\n[parallelism]\n"
      "data_parallel_replicate_degree = {}\ndata_parallel_shard_degree = {}\nfsdp_reshard_after_forward = \"{}\"\n"
      "tensor_parallel_degree = {}\npipeline_parallel_degree = {}\npipeline_parallel_schedule = \"{}\"\n"
      "pipeline_parallel_microbatch_size = {}\ncontext_parallel_degree = {}\nexpert_parallel_degree = {}\n\n"
      "[activation_checkpoint]\nmode = \"{}\"\n",
      in_quotes(plan.model), plan.micro_batch * (plan.pipeline > 1 ? plan.grad_accum_steps : 1), plan.global_batch(),
      plan.seq_len, replicate, shard, plan.zero_stage == 3 ? "always" : "never", plan.tensor, plan.pipeline,
      plan.virtual_stages > 1 ? "Interleaved1F1B" : "1F1B", plan.micro_batch, plan.context, plan.expert,
      plan.recompute ? "full" : "none");
}

std::string megatron(const HandoverPlan& plan) {
  if (plan.zero_stage >= 2)
    refuse("megatron", "its distributed optimizer is ZeRO-1", "--to accelerate-fsdp or deepspeed for ZeRO-2 and 3");
  if (plan.method != "full") refuse("megatron", "it trains all weights", "--to axolotl, llama-factory or torchtune");
  std::string text = fmt::format(
      "--tensor-model-parallel-size {}\n--pipeline-model-parallel-size {}\n--context-parallel-size {}\n"
      "--expert-model-parallel-size {}\n--micro-batch-size {}\n--global-batch-size {}\n--seq-length {}\n--bf16\n"
      "--use-flash-attn\n--transformer-impl transformer_engine\n--cross-entropy-loss-fusion\n",
      plan.tensor, plan.pipeline, plan.context, plan.expert, plan.micro_batch, plan.global_batch(), plan.seq_len);
  if (plan.tensor > 1) text += "--sequence-parallel\n";
  if (plan.virtual_stages > 1) text += fmt::format("--num-virtual-stages-per-pipeline-rank {}\n", plan.virtual_stages);
  if (plan.zero_stage == 1) text += "--use-distributed-optimizer\n--overlap-grad-reduce\n--overlap-param-gather\n";
  if (plan.recompute) text += "--recompute-granularity full\n--recompute-method uniform\n--recompute-num-layers 1\n";
  return text;
}

std::string axolotl(const HandoverPlan& plan) {
  if (plan.pipeline > 1) refuse("axolotl", "it has no pipeline", "--to megatron or torchtitan");
  std::string text = fmt::format(
      "base_model: {}\nsequence_len: {}\nmicro_batch_size: {}\ngradient_accumulation_steps: {}\nbf16: true\n"
      "flash_attention: true\nsample_packing: true\ngradient_checkpointing: {}\noptimizer: adamw_torch_fused\n"
      "datasets: []  # yours\noutput_dir: ./run\n",
      in_quotes(plan.model), plan.seq_len, plan.micro_batch, plan.grad_accum_steps, yes(plan.recompute));
  if (plan.method == "lora") {
    text += fmt::format("adapter: {}\nlora_r: {}\nlora_alpha: {}\n", plan.base == "4bit" ? "qlora" : "lora", plan.rank,
                        2 * plan.rank);
    if (plan.targets == std::vector<std::string>{"all-linear"}) text += "lora_target_linear: true\n";
    else text += "lora_target_modules: " + list(plan.targets) + "\n";
    if (plan.base == "4bit") text += "load_in_4bit: true\n";
    if (plan.base == "8bit") text += "load_in_8bit: true\n";
  }
  if (plan.zero_stage == 1) text += "deepspeed: ds_config.json  # plimsoll export PLAN --to deepspeed\n";
  if (plan.tensor > 1) text += fmt::format("tensor_parallel_size: {}\n", plan.tensor);
  if (plan.context > 1) text += fmt::format("context_parallel_size: {}\n", plan.context);
  if (plan.zero_stage >= 2)
    text += fmt::format(
        "dp_shard_size: {}\nfsdp_version: 2\nfsdp_config:\n  auto_wrap_policy: TRANSFORMER_BASED_WRAP\n"
        "  reshard_after_forward: {}\n  state_dict_type: SHARDED_STATE_DICT\n",
        plan.data, yes(plan.zero_stage == 3));
  return text;
}

std::string llama_factory(const HandoverPlan& plan) {
  require_data_only(plan, "llama-factory");
  std::string text = fmt::format(
      "model_name_or_path: {}\nstage: sft\ndo_train: true\nfinetuning_type: {}\ncutoff_len: {}\n"
      "per_device_train_batch_size: {}\ngradient_accumulation_steps: {}\nbf16: true\nflash_attn: fa2\n"
      "disable_gradient_checkpointing: {}\ndataset: your_dataset\noutput_dir: ./run\n",
      in_quotes(plan.model), plan.method, plan.seq_len, plan.micro_batch, plan.grad_accum_steps, yes(!plan.recompute));
  if (plan.method == "lora") {
    const bool all = plan.targets == std::vector<std::string>{"all-linear"};
    std::string targets;
    for (const std::string& name : plan.targets) targets += (targets.empty() ? "" : ",") + name;
    text += fmt::format("lora_rank: {}\nlora_alpha: {}\nlora_target: {}\n", plan.rank, 2 * plan.rank,
                        in_quotes(all ? "all" : targets));
    if (plan.base != "16bit")
      text += fmt::format("quantization_bit: {}\nquantization_method: bnb\n", plan.base == "4bit" ? 4 : 8);
  }
  if (plan.zero_stage > 0) text += "deepspeed: ds_config.json  # plimsoll export PLAN --to deepspeed\n";
  return text;
}

std::string unsloth(const HandoverPlan& plan) {
  if (plan.devices() > 1) refuse("unsloth", "it runs on one device", "--to axolotl or accelerate-fsdp");
  return fmt::format(
      "#!/bin/sh\n# unsloth-cli.py of the Unsloth repository\nexec python unsloth-cli.py \\\n  --model_name {} \\\n"
      "  --max_seq_length {} \\\n  --per_device_train_batch_size {} \\\n  --gradient_accumulation_steps {} \\\n{}{}"
      "  --use_gradient_checkpointing {} \\\n  --dataset your_dataset\n",
      in_quotes(plan.model), plan.seq_len, plan.micro_batch, plan.grad_accum_steps,
      plan.base == "4bit" ? "  --load_in_4bit \\\n" : "",
      plan.method == "lora" ? fmt::format("  --r {} --lora_alpha {} \\\n", plan.rank, 2 * plan.rank) : "",
      plan.recompute ? "unsloth" : "False");
}

std::string torchtune(const HandoverPlan& plan) {
  if (plan.pipeline > 1 || plan.context > 1) refuse("torchtune", "it has no pipeline", "--to megatron or torchtitan");
  if (plan.data > 1 && plan.zero_stage != 3)
    refuse("torchtune", "its distributed recipes always cut the weights (ZeRO-3)", "--to deepspeed or megatron");
  const bool lora = plan.method == "lora";
  std::string text = fmt::format(
      "# tune run --nnodes {} --nproc_per_node {} {}_finetune_distributed --config this.yaml\n"
      "output_dir: ./run\ntokenizer:\n  path: ./model/tokenizer.json  # of {}\n  max_seq_len: {}\n"
      "batch_size: {}\ngradient_accumulation_steps: {}\ndtype: bf16\nenable_activation_checkpointing: {}\n"
      "compile: true\nepochs: 1\n",
      plan.nodes(), std::min(plan.devices(), plan.node_devices), lora ? "lora" : "full", plan.model, plan.seq_len,
      plan.micro_batch, plan.grad_accum_steps, yes(plan.recompute));
  if (plan.tensor > 1) text += fmt::format("tensor_parallel_dim: {}\n", plan.tensor);
  if (plan.zero_stage == 3) text += "fsdp_reshard_after_forward: true\n";
  if (lora)
    text += fmt::format("model:\n  lora_rank: {}\n  lora_alpha: {}\n  quantize_base: {}\n", plan.rank, 2 * plan.rank,
                        yes(plan.base == "4bit"));
  return text;
}

// "h100-80g" → "H100": as clouds name the device.
std::string accelerator(std::string_view device) {
  std::string name(device.substr(0, device.find('-')));
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::toupper(c); });
  if (device == "a100-80g") return "A100-80GB";
  return name;
}

std::string slurm(const HandoverPlan& plan) {
  const int64_t per_node = std::min(plan.devices(), plan.node_devices);
  return fmt::format(
      "#!/bin/bash\n#SBATCH --job-name=plimsoll\n#SBATCH --nodes={0}\n#SBATCH --ntasks-per-node=1\n"
      "#SBATCH --gpus-per-node={1}\n#SBATCH --exclusive\nset -euo pipefail\n"
      "head=$(scontrol show hostnames \"$SLURM_JOB_NODELIST\" | head -n 1)\n"
      "srun torchrun --nnodes={0} --nproc-per-node={1} --rdzv-id=\"$SLURM_JOB_ID\" --rdzv-backend=c10d \\\n"
      "  --rdzv-endpoint=\"$head:29500\" \"$@\"\n",
      plan.nodes(), per_node);
}

std::string kubernetes(const HandoverPlan& plan) {
  const int64_t per_node = std::min(plan.devices(), plan.node_devices);
  return fmt::format(
      "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: plimsoll\nspec:\n  completions: {0}\n  parallelism: {0}\n"
      "  completionMode: Indexed\n  backoffLimit: 0\n  template:\n    spec:\n      restartPolicy: Never\n"
      "      subdomain: plimsoll\n      containers:\n        - name: train\n          image: your-image\n"
      "          command: [\"torchrun\", \"--nnodes={0}\", \"--nproc-per-node={1}\", "
      "\"--node-rank=$(JOB_COMPLETION_INDEX)\", \"--master-addr=plimsoll-0.plimsoll\", \"--master-port=29500\", "
      "\"train.py\"]\n          env:\n            - name: JOB_COMPLETION_INDEX\n              valueFrom:\n"
      "                fieldRef:\n                  fieldPath: "
      "metadata.annotations['batch.kubernetes.io/job-completion-index']\n"
      "          resources:\n            limits:\n              nvidia.com/gpu: {1}\n",
      plan.nodes(), per_node);
}

std::string skypilot(const HandoverPlan& plan) {
  const int64_t per_node = std::min(plan.devices(), plan.node_devices);
  return fmt::format(
      "name: plimsoll\nnum_nodes: {0}\nresources:\n  accelerators: {1}:{2}\nrun: |\n"
      "  head=$(echo \"$SKYPILOT_NODE_IPS\" | head -n 1)\n"
      "  torchrun --nnodes={0} --nproc-per-node={2} --node-rank=$SKYPILOT_NODE_RANK \\\n"
      "    --master-addr=$head --master-port=29500 train.py\n",
      plan.nodes(), accelerator(plan.device), per_node);
}

}  // namespace

const std::vector<HandoverTarget>& handover_targets() {
  static const std::vector<HandoverTarget> kTargets = {
      {"deepspeed", "ds_config.json", "DeepSpeed's configuration"},
      {"accelerate-fsdp", "accelerate.yaml", "for accelerate launch --config_file"},
      {"torchtitan", "torchtitan.toml", "a job configuration"},
      {"megatron", "megatron.args", "arguments of Megatron-LM's pretrain_gpt.py"},
      {"axolotl", "axolotl.yaml", "for axolotl train"},
      {"llama-factory", "llama_factory.yaml", "for llamafactory-cli train"},
      {"unsloth", "unsloth.sh", "a call of unsloth-cli.py"},
      {"torchtune", "torchtune.yaml", "overrides for a recipe of tune run"},
      {"slurm", "plimsoll.sbatch", "starts torchrun on every node"},
      {"kubernetes", "job.yaml", "an indexed Job"},
      {"skypilot", "sky.yaml", "a task"}};
  return kTargets;
}

HandoverPlan parse_search_plan(const std::string& json, const std::string& source, int64_t devices) {
  HandoverPlan plan;
  try {
    const Json document = Json::parse(json);
    if (document.value("kind", "") != "search")
      throw caller_error(one_line(source, 120), "is no plan of a search",
                         "plimsoll search MODEL --devices … --json > plan.json");
    const Json* chosen = nullptr;
    for (const Json& each : document.at(devices > 0 ? "best" : "pareto")) {
      if (devices > 0 ? each.at("devices").get<int64_t>() == devices
                      : chosen == nullptr ||
                            each.at("tokens_per_second").get<double>() > chosen->at("tokens_per_second").get<double>())
        chosen = &each;
    }
    if (chosen == nullptr)
      throw caller_error(one_line(source, 120),
                         devices > 0 ? fmt::format("has no plan on {} devices", devices) : "has no plan that works",
                         "search again with other --devices");
    const Json& recipe = document.at("recipe");
    const Json& layout = chosen->at("layout");
    plan.model = document.at("model").get<std::string>();
    plan.device = document.at("device").get<std::string>();
    plan.method = recipe.at("method").get<std::string>();
    plan.base = recipe.at("base").get<std::string>();
    plan.rank = recipe.at("rank").get<int64_t>();
    plan.seq_len = recipe.at("seq_len").get<int64_t>();
    const std::string targets = recipe.at("targets").get<std::string>();
    for (size_t at = 0; at <= targets.size();) {
      const size_t end = std::min(targets.find(',', at), targets.size());
      plan.targets.push_back(targets.substr(at, end - at));
      at = end + 1;
    }
    const auto size = [&](const Json& from, const char* name) {
      const auto value = from.at(name).get<int64_t>();
      if (value < 0 || value > (1 << 24))
        throw caller_error(one_line(source, 120), fmt::format("{} is {}", name, value), "search again");
      return value;
    };
    plan.data = size(layout, "data"), plan.tensor = size(layout, "tensor"), plan.pipeline = size(layout, "pipeline");
    plan.context = size(layout, "context"), plan.expert = size(layout, "expert");
    plan.virtual_stages = size(layout, "virtual_stages"), plan.zero_stage = size(layout, "zero_stage");
    plan.micro_batch = size(*chosen, "micro_batch"), plan.grad_accum_steps = size(*chosen, "grad_accum_steps");
    plan.recompute = chosen->at("recompute").get<std::string>() == "full";
    plan.node_devices = std::max<int64_t>(1, document.value("node_devices", int64_t{8}));
  } catch (const nlohmann::json::exception& error) {
    throw caller_error(one_line(source, 120), std::string("is no plan: ") + error.what(),
                       "plimsoll search MODEL --devices … --json > plan.json");
  }
  return plan;
}

std::string handover_config(const HandoverPlan& plan, std::string_view target) {
  if (target == "deepspeed") return deepspeed(plan);
  if (target == "accelerate-fsdp") return accelerate_fsdp(plan);
  if (target == "torchtitan") return torchtitan(plan);
  if (target == "megatron") return megatron(plan);
  if (target == "axolotl") return axolotl(plan);
  if (target == "llama-factory") return llama_factory(plan);
  if (target == "unsloth") return unsloth(plan);
  if (target == "torchtune") return torchtune(plan);
  if (target == "slurm") return slurm(plan);
  if (target == "kubernetes") return kubernetes(plan);
  if (target == "skypilot") return skypilot(plan);
  std::vector<std::string_view> names;
  std::string all;
  for (const HandoverTarget& each : handover_targets()) {
    names.push_back(each.name);
    all += (all.empty() ? "" : ", ") + std::string(each.name);
  }
  const std::string_view near = nearest_name(target, names);
  throw caller_error(fmt::format("--to {}", one_line(target, 40)), "is no engine that a plan can be handed to",
                     near.empty() ? all : fmt::format("{}; all: {}", near, all));
}

}  // namespace plimsoll
