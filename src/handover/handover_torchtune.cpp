// torchtune: a whole configuration of its recipes, whose models are functions by name.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "handover/handover_text.h"

namespace plimsoll::handover {
namespace {

struct TuneModel {
  std::string_view model, package, builder, type;  // type: how its checkpoints are named
  std::string_view tokenizer, tokenizer_file;
};
constexpr std::string_view kLlama3Tokenizer = "llama3.llama3_tokenizer", kLlama3File = "original/tokenizer.model",
                           kQwenTokenizer = "qwen2_5.qwen2_5_tokenizer", kOneFile = "tokenizer.model";
constexpr std::array kTuneModels = {
    TuneModel{"llama-2-7b", "llama2", "llama2_7b", "LLAMA2", "llama2.llama2_tokenizer", kOneFile},
    TuneModel{"llama-2-13b", "llama2", "llama2_13b", "LLAMA2", "llama2.llama2_tokenizer", kOneFile},
    TuneModel{"llama-2-70b", "llama2", "llama2_70b", "LLAMA2", "llama2.llama2_tokenizer", kOneFile},
    TuneModel{"llama-3-8b", "llama3", "llama3_8b", "LLAMA3", kLlama3Tokenizer, kLlama3File},
    TuneModel{"llama-3-70b", "llama3", "llama3_70b", "LLAMA3", kLlama3Tokenizer, kLlama3File},
    TuneModel{"llama-3.1-8b", "llama3_1", "llama3_1_8b", "LLAMA3", kLlama3Tokenizer, kLlama3File},
    TuneModel{"llama-3.1-70b", "llama3_1", "llama3_1_70b", "LLAMA3", kLlama3Tokenizer, kLlama3File},
    TuneModel{"llama-3.1-405b", "llama3_1", "llama3_1_405b", "LLAMA3", kLlama3Tokenizer, kLlama3File},
    TuneModel{"llama-3.2-1b", "llama3_2", "llama3_2_1b", "LLAMA3_2", kLlama3Tokenizer, kLlama3File},
    TuneModel{"llama-3.2-3b", "llama3_2", "llama3_2_3b", "LLAMA3_2", kLlama3Tokenizer, kLlama3File},
    TuneModel{"llama-3.3-70b", "llama3_3", "llama3_3_70b", "LLAMA3", kLlama3Tokenizer, kLlama3File},
    TuneModel{"qwen2.5-0.5b", "qwen2_5", "qwen2_5_0_5b", "QWEN2", kQwenTokenizer, "vocab.json"},
    TuneModel{"qwen2.5-1.5b", "qwen2_5", "qwen2_5_1_5b_base", "QWEN2", kQwenTokenizer, "vocab.json"},
    TuneModel{"qwen2.5-3b", "qwen2_5", "qwen2_5_3b", "QWEN2", kQwenTokenizer, "vocab.json"},
    TuneModel{"qwen2.5-7b", "qwen2_5", "qwen2_5_7b_base", "QWEN2", kQwenTokenizer, "vocab.json"},
    TuneModel{"qwen2.5-14b", "qwen2_5", "qwen2_5_14b_base", "QWEN2", kQwenTokenizer, "vocab.json"},
    TuneModel{"qwen2.5-32b", "qwen2_5", "qwen2_5_32b_base", "QWEN2", kQwenTokenizer, "vocab.json"},
    TuneModel{"qwen2.5-72b", "qwen2_5", "qwen2_5_72b_base", "QWEN2", kQwenTokenizer, "vocab.json"},
    TuneModel{"mistral-7b-v0.1", "mistral", "mistral_7b", "MISTRAL", "mistral.mistral_tokenizer", kOneFile},
    TuneModel{"gemma-2b", "gemma", "gemma_2b", "GEMMA", "gemma.gemma_tokenizer", kOneFile},
    TuneModel{"gemma-7b", "gemma", "gemma_7b", "GEMMA", "gemma.gemma_tokenizer", kOneFile},
    TuneModel{"gemma-2-2b", "gemma2", "gemma2_2b", "GEMMA2", "gemma.gemma_tokenizer", kOneFile},
    TuneModel{"gemma-2-9b", "gemma2", "gemma2_9b", "GEMMA2", "gemma.gemma_tokenizer", kOneFile},
    TuneModel{"gemma-2-27b", "gemma2", "gemma2_27b", "GEMMA2", "gemma.gemma_tokenizer", kOneFile},
    TuneModel{"phi-3-mini-4k", "phi3", "phi3_mini", "PHI3_MINI", "phi3.phi3_mini_tokenizer", kOneFile},
};

const TuneModel& tune_model(const HandoverPlan& plan) {
  for (const TuneModel& each : kTuneModels)
    if (each.model == plan.model) return each;
  refuse("torchtune", "it has no builder for this model (it has llama 2 to 3.3, qwen2.5, mistral 7b, gemma and phi-3)",
         "--to axolotl, llama-factory or accelerate-fsdp");
}

// The names of PEFT as torchtune groups them.
std::string adapter_keys(const HandoverPlan& plan) {
  std::vector<std::string> attention;
  int64_t mlp = 0;
  for (const std::string& name : plan.targets) {
    if (name == "all-linear") attention = {"q_proj", "k_proj", "v_proj", "output_proj"}, mlp = 3;
    else if (name == "o_proj") attention.emplace_back("output_proj");
    else if (name == "q_proj" || name == "k_proj" || name == "v_proj") attention.push_back(name);
    else if (name == "gate_proj" || name == "up_proj" || name == "down_proj") ++mlp;
    else refuse("torchtune", "it has no place for an adapter on " + name, "--targets all-linear");
  }
  if (mlp != 0 && mlp != 3)
    refuse("torchtune", "it adapts all of gate_proj, up_proj and down_proj or none", "--targets all-linear");
  return fmt::format(
      "  lora_attn_modules: {}\n  apply_lora_to_mlp: {}\n  lora_rank: {}\n"
      "  lora_alpha: {}\n  lora_dropout: 0.0\n  quantize_base: {}\n",
      quoted_list(attention), yes(mlp == 3), plan.rank, 2 * plan.rank, yes(plan.base == "4bit"));
}

}  // namespace

std::string torchtune(const HandoverPlan& plan) {
  if (plan.pipeline > 1 || plan.context > 1 || plan.expert > 1)
    refuse("torchtune", "it has no pipeline, context or expert parallelism", "--to megatron or torchtitan");
  if (plan.data > 1 && plan.zero_stage < 2)
    refuse("torchtune", "its distributed recipes always cut the gradients (ZeRO-2 and 3)",
           "--to deepspeed or megatron");
  require_even_nodes(plan, "torchtune");
  if (plan.base == "8bit") refuse("torchtune", "it has no 8-bit base", "--to axolotl or llama-factory");
  const TuneModel& model = tune_model(plan);
  const bool lora = plan.method == "lora", one = plan.devices() == 1;
  if (plan.tensor > 1 && (lora || !model.package.starts_with("llama3")))
    refuse("torchtune", "it cuts by tensor only full runs of llama 3", "--to megatron, or a plan of data alone");
  std::string text =
      fmt::format("# tune run{} {}_finetune_{} --config this.yaml\n",
                  one ? "" : fmt::format(" --nnodes {} --nproc_per_node {}", plan.nodes(), plan.per_node()),
                  lora ? "lora" : "full", one ? "single_device" : "distributed");
  text += fmt::format("output_dir: ./run\nmodel:\n  _component_: torchtune.models.{}.{}{}\n", model.package,
                      lora ? "lora_" : "", model.builder);
  if (lora) text += adapter_keys(plan);
  text += fmt::format("tokenizer:\n  _component_: torchtune.models.{}\n  path: ./model/{}\n", model.tokenizer,
                      model.tokenizer_file);
  if (model.tokenizer_file == "vocab.json") text += "  merges_file: ./model/merges.txt\n";
  text += fmt::format(
      "  max_seq_len: {}\ncheckpointer:\n  _component_: torchtune.training.FullModelHFCheckpointer\n"
      "  checkpoint_dir: ./model\n  checkpoint_files:\n    filename_format: model-{{}}-of-{{}}.safetensors\n"
      "    max_filename: \"00004\"  # of your files\n  recipe_checkpoint: null\n  output_dir: ${{output_dir}}\n"
      "  model_type: {}\nresume_from_checkpoint: false\n",
      plan.seq_len, model.type);
  if (lora) text += "save_adapter_weights_only: true\n";
  text += fmt::format(
      "dataset:\n  _component_: torchtune.datasets.alpaca_dataset  # yours\n  packed: true\nseed: 0\nshuffle: true\n"
      "batch_size: {}\ngradient_accumulation_steps: {}\nepochs: 1\nmax_steps_per_epoch: null\nclip_grad_norm: 1.0\n"
      "optimizer:\n  _component_: torch.optim.AdamW\n  lr: {}  # yours\n  fused: {}\n",
      plan.micro_batch, plan.grad_accum_steps, lora ? "2e-4" : "1e-5", yes(plan.tensor == 1));
  if (lora)
    text +=
        "lr_scheduler:\n  _component_: torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup\n"
        "  num_warmup_steps: 100\n";
  else text += "optimizer_in_bwd: false\n";
  text += fmt::format(
      "loss:\n  _component_: torchtune.modules.loss.CEWithChunkedOutputLoss\ndevice: cuda\ndtype: bf16\n"
      "compile: true\nenable_activation_checkpointing: {}\nenable_activation_offloading: false\n",
      yes(plan.recompute));
  if (plan.tensor > 1)
    text += fmt::format(
        "tensor_parallel_dim: {}\ntensor_parallel_plan:\n  _component_: torchtune.models.llama3.base_llama_tp_plan\n",
        plan.tensor);
  if (!one) text += fmt::format("fsdp_reshard_after_forward: {}\n", yes(plan.zero_stage == 3));
  text +=
      "metric_logger:\n  _component_: torchtune.training.metric_logging.DiskLogger\n  log_dir: ${output_dir}/logs\n"
      "log_every_n_steps: 1\nlog_peak_memory_stats: true\n";
  return text;
}

}  // namespace plimsoll::handover
