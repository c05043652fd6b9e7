// A training run on an engine that is not ours: what is trained, how, and in which layout over how many devices.
// Read by the engine profiles (bytes) and by the cost model (seconds). Plain data; no defaults of any engine are in it:
// those are habits, applied before (engine_profile.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/model_config.h"

namespace plimsoll {

enum class TuneMethod { full, lora, qlora };

// How the base weights are stored.
enum class WeightFormat { f32, bf16, f16, fp8, int8, nf4, nf4_double, fp4, gptq4 };

enum class ComputeMode {
  f32,
  bf16,  // weights and activations are bf16, no autocast
  f16,
  amp_bf16,  // autocast: products in bf16, the rest in f32
  amp_f16,
  fp8,  // products in fp8 on bf16 activations
};

enum class EngineOptimizer {
  none,
  adamw_foreach,
  adamw_fused,
  adamw_8bit,
  sgd_foreach,
  sgd_momentum_foreach,
  adafactor,
  muon,
};

enum class RecomputeKind { none, selective, full };

// What of a Megatron layer is computed again under RecomputeKind::selective, as its --recompute-modules names it.
struct RecomputeModules {
  bool core_attn = false, mlp = false, moe = false, layernorm = false, moe_act = false, mla_up_proj = false;
  bool shared_experts = false;
  bool operator==(const RecomputeModules&) const = default;
  bool any() const { return core_attn || mlp || moe || layernorm || moe_act || mla_up_proj || shared_experts; }
};

// False where `name` is no module of Megatron's list.
bool set_recompute_module(RecomputeModules& modules, std::string_view name);

enum class AttentionKernel {
  automatic,  // by the rules of PyTorch's dispatcher
  flash,
  efficient,
  math,
  eager,
};

struct EngineRecipe {
  TuneMethod method = TuneMethod::full;
  WeightFormat weights = WeightFormat::bf16;
  ComputeMode compute = ComputeMode::bf16;
  EngineOptimizer optimizer = EngineOptimizer::adamw_foreach;
  // LoRA, QLoRA. Targets are the last names of Hugging Face's modules, or "all-linear".
  int64_t lora_rank = 0;
  std::vector<std::string> lora_targets;
  double lora_dropout = 0.0;
  bool adapter_f32 = true;             // PEFT upcasts adapters of a half-precision base
  bool kbit_preparation = false;       // prepare_model_for_kbit_training: what is not quantized becomes f32
  bool quantized_keeps_input = false;  // bitsandbytes of 2023 saved the inputs of 4-bit products
  bool trains_embeddings = false;      // modules_to_save: embedding and head are trained, too
  RecomputeKind recompute = RecomputeKind::none;
  RecomputeModules modules = {};     // with selective; none: core_attn, which is Megatron's default
  bool offload_activations = false;  // torchtune: what autograd saves waits on the host
  bool step_in_backward = false;     // torchtune: a weight is updated as soon as its gradient is there
  int64_t micro_batch = 1;           // sequences of a forward pass on one data-parallel rank
  int64_t seq_len = 1;               // tokens of a sequence, all context-parallel ranks together
  int64_t grad_accum_steps = 1;      // micro-batches of a step on one rank
  AttentionKernel attention = AttentionKernel::automatic;
  bool maybe_scores = false;  // kernels that give the same bits each time may be those that write the scores
  bool half_loss = false;     // the loss in the type of the logits, no f32 copy of them
  bool half_states = false;   // gradients and the optimizer's states in 16 bit, no master weights beside them
  bool reduce_f32 = false;    // sharded: gradients are reduced in f32
  // Megatron: what its models have beyond their shape.
  double hidden_dropout = 0.0, attention_dropout = 0.0;
  bool fused_loss = false;      // cross-entropy in one kernel
  int64_t further_tokens = 0;   // layers that predict the tokens after the next one (arXiv:2404.19737)
  bool grouped_experts = true;  // all experts of a rank in one product
  // Megatron's --defer-embedding-wgrad-compute: micro-batches whose gradients of the logits wait; 0: all of them.
  std::optional<int64_t> deferred_logits = {};
};

// Where what is taken off the device goes.
enum class OffloadPlace { host, nvme };

// DeepSpeed's ZeRO-3 and its offload, in values; defaults of deepspeed/runtime/zero/config.py and offload_config.py.
struct ZeroSettings {
  int64_t max_live = 1'000'000'000;            // stage3_max_live_parameters: bounds what is fetched ahead
  int64_t reuse_distance = 1'000'000'000;      // stage3_max_reuse_distance: what is needed again sooner stays
  int64_t prefetch = 50'000'000;               // stage3_prefetch_bucket_size
  int64_t persistence = 100'000;               // stage3_param_persistence_threshold: smaller ones are never cut
  int64_t reduce_bucket = 500'000'000;         // reduce_bucket_size
  int64_t sub_group = 1'000'000'000;           // sub_group_size: values that one pass of the optimizer updates
  int64_t optimizer_buffers = 4;               // offload_optimizer.buffer_count, of a sub-group each
  int64_t parameter_buffers = 5;               // offload_param.buffer_count
  int64_t parameter_buffer = 100'000'000;      // offload_param.buffer_size
  int64_t parameters_in_host = 1'000'000'000;  // offload_param.max_in_cpu, with NVMe
};

struct EngineLayout {
  int64_t data = 1, tensor = 1, pipeline = 1, context = 1, expert = 1;  // devices: data · tensor · pipeline · context
  bool sequence_parallel = false;  // activations outside the tensor-parallel products are cut over the tensor ranks
  int64_t virtual_stages = 1;      // chunks of layers a pipeline rank holds: interleaved 1F1B
  // 0: replicated; 1: optimizer states are cut over the data ranks (ZeRO-1, Megatron's distributed optimizer); 2:
  // gradients, too (SHARD_GRAD_OP); 3: weights, too (FSDP).
  int zero_stage = 0;
  int64_t shard_ranks = 0;  // over how many ranks zero_stage cuts; 0: data · context
  bool reshard_after_forward = true;
  bool offload_optimizer = false, offload_parameters = false;
  OffloadPlace offload_place = OffloadPlace::host;
  ZeroSettings zero = {};
  // Layers of each pipeline chunk in the model's order (chunk c is on stage c mod pipeline); empty: as even as it goes,
  // what is over in the middle.
  std::vector<int64_t> chunk_layers = {};
  int64_t stage = -1;         // whose bytes are asked for: a pipeline stage; -1: of the one with the most
  int64_t expert_tensor = 0;  // tensor parallelism of experts; 0: as `tensor`
  int64_t devices() const { return data * tensor * pipeline * context; }
};

struct EngineRun {
  bool serves = false;  // inference: micro_batch users with seq_len tokens each
  double kv_bytes = 2;  // of a cached value
  std::string engine;   // a stack of catalog/stack_memory.csv: "torch", "fsdp2", "deepspeed", "megatron" …
  ModelConfig model;
  EngineRecipe recipe;
  EngineLayout layout;
  std::string device;        // as the user or the row names it; "" unknown
  int64_t device_bytes = 0;  // memory of one device; 0 unknown
  double nvme_rate = 0;      // bytes a second of one node's NVMe, of one direction; 0 unknown
};

}  // namespace plimsoll
