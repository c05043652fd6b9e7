// Arguments of Megatron-LM's pretrain_gpt.py: the layout, and the model's shape where it is known.
#include <fmt/format.h>

#include "handover/handover_text.h"

namespace plimsoll::handover {
namespace {

// What is not here cannot be said with these arguments.
bool rotary_and_gated(const ModelConfig& model) {
  return model.positions == PositionKind::rotary && model.activation == "silu" && !model.parallel_residual &&
         model.sliding_window == 0 && model.latent.kv_rank == 0 && model.embedding_multiplier == 1.0 &&
         model.attention_softcap == 0 &&
         (model.rope.kind == RopeKind::standard || model.rope.kind == RopeKind::llama3) && model.mixture.shared == 0;
}

std::string shape(const ModelConfig& model) {
  std::string text = fmt::format(
      "--num-layers {}\n--hidden-size {}\n--ffn-hidden-size {}\n--num-attention-heads {}\n--kv-channels {}\n"
      "--group-query-attention\n--num-query-groups {}\n--max-position-embeddings {}\n--normalization RMSNorm\n"
      "--norm-epsilon {}\n--swiglu\n--disable-bias-linear\n--position-embedding-type rope\n--rotary-base {:.0f}\n"
      "--rotary-percent {}\n",
      model.layers, model.hidden_size, model.intermediate_size, model.heads, model.head_dim, model.kv_heads,
      model.context_length, model.norm_eps, model.rope.theta, model.rope.partial_rotary_factor);
  if (model.rope.kind == RopeKind::llama3)
    text += fmt::format("--use-rope-scaling\n--rope-scaling-factor {}\n", model.rope.factor);
  if (!model.tied_embeddings) text += "--untie-embeddings-and-output-weights\n";
  if (model.attention_bias) text += "--add-qkv-bias\n";
  if (model.architecture.starts_with("qwen3")) text += "--qk-layernorm\n";
  if (model.mixture.experts > 0)
    text += fmt::format(
        "--num-experts {}\n--moe-router-topk {}\n--moe-ffn-hidden-size {}\n--moe-grouped-gemm\n"
        "--moe-token-dispatcher-type alltoall\n",
        model.mixture.experts, model.mixture.chosen, model.mixture.width);
  return text;
}

// Stages in words of Megatron-Core: E the embedding, t a layer, L the loss; as layers_of_chunk divides them.
std::string uneven(int64_t layers, int64_t chunks) {
  const int64_t least = layers / chunks, more = layers % chunks, first = (chunks - more) / 2;
  std::string text = "E";
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    if (chunk > 0) text += "|";
    const int64_t count = least + (chunk >= first && chunk < first + more ? 1 : 0);
    text += count == 1 ? "t" : fmt::format("t*{}", count);
  }
  return text + "L";
}

}  // namespace

std::string megatron(const HandoverPlan& plan) {
  if (plan.zero_stage >= 2)
    refuse("megatron", "its distributed optimizer is ZeRO-1", "--to accelerate-fsdp or deepspeed for ZeRO-2 and 3");
  if (plan.method != "full") refuse("megatron", "it trains all weights", "--to axolotl, llama-factory or torchtune");
  // Comments stand in lines of their own: the file is read by a shell.
  std::string text = "# torchrun … pretrain_gpt.py $(grep -v '^#' megatron.args) and yours\n";
  if (plan.config && rotary_and_gated(*plan.config)) text += shape(*plan.config);
  else text += "--use-checkpoint-args\n";  // the shape is read from the checkpoint that --load names
  text += fmt::format(
      "--tensor-model-parallel-size {}\n--pipeline-model-parallel-size {}\n--context-parallel-size {}\n"
      "--expert-model-parallel-size {}\n--micro-batch-size {}\n--global-batch-size {}\n--seq-length {}\n--bf16\n"
      "--use-flash-attn\n--transformer-impl transformer_engine\n--cross-entropy-loss-fusion\n--attention-dropout 0\n"
      "--hidden-dropout 0\n",
      plan.tensor, plan.pipeline, plan.context, plan.expert, plan.micro_batch, plan.global_batch(), plan.seq_len);
  if (plan.tensor > 1) text += "--sequence-parallel\n";
  const int64_t chunks = plan.pipeline * plan.virtual_stages;
  if (chunks > 1 && plan.layers % chunks != 0)
    text += "--pipeline-model-parallel-layout " + uneven(plan.layers, chunks) + "\n";
  else if (plan.virtual_stages > 1)
    text += fmt::format("--num-virtual-stages-per-pipeline-rank {}\n", plan.virtual_stages);
  if (plan.zero_stage == 1) text += "--use-distributed-optimizer\n--overlap-grad-reduce\n--overlap-param-gather\n";
  if (plan.recompute) text += "--recompute-granularity full\n--recompute-method uniform\n--recompute-num-layers 1\n";
  if (plan.steps > 0) text += fmt::format("--train-iters {}\n", plan.steps);
  else text += "# yours: --train-iters\n";
  return text +
         "# yours: --lr --min-lr --lr-decay-style --lr-warmup-iters --weight-decay --clip-grad\n"
         "# yours: --data-path --split --tokenizer-type --tokenizer-model\n"
         "# yours: --load --save --save-interval --eval-iters --log-interval\n";
}

}  // namespace plimsoll::handover
