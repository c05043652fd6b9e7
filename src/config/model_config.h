// What a language model is, independent of the file it came from. Filled by parse_hf_config (config.json) and by
// formats/gguf (metadata); read by arch/, which turns it into parameters and a graph.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"

namespace plimsoll {

enum class RopeKind { standard, linear, dynamic, llama3, yarn, longrope };
enum class RopeStyle { half, interleaved };  // pairs (i, i + d/2), as Hugging Face stores weights; or (2i, 2i + 1)

// Rotary position embedding (Su et al. 2021, arXiv:2104.09864) and its published context extensions.
struct RopeConfig {
  RopeKind kind = RopeKind::standard;
  RopeStyle style = RopeStyle::half;
  double theta = 10000.0;
  double partial_rotary_factor = 1.0;               // share of head_dim that is rotated
  double factor = 1.0;                              // linear, dynamic, llama3, yarn, longrope
  double low_freq_factor = 1.0;                     // llama3
  double high_freq_factor = 4.0;                    // llama3
  int64_t original_context_length = 0;              // llama3, yarn, longrope, dynamic; 0: the model's context_length
  double beta_fast = 32.0;                          // yarn
  double beta_slow = 1.0;                           // yarn
  bool truncate = true;                             // yarn
  std::optional<double> mscale, mscale_all_dim;     // yarn (DeepSeek)
  std::optional<double> attention_factor;           // yarn, longrope: overrides the derived value
  std::optional<double> short_mscale, long_mscale;  // longrope (Phi-MoE): the same, by length as the lists below
  std::vector<double> short_factor, long_factor;    // longrope: one divisor per frequency
  std::vector<double> frequency_divisors;           // GGUF rope_freqs.weight: one divisor per frequency; empty: none

  bool operator==(const RopeConfig&) const = default;
};

// A mixture of experts in place of the MLP of some layers. experts == 0: none.
struct MixtureConfig {
  int64_t experts = 0;
  int64_t chosen = 0;                 // experts of a token
  int64_t width = 0;                  // intermediate size of one expert
  int64_t shared = 0;                 // experts that every token goes through, as one MLP of shared · width
  std::vector<bool> layers;           // one per layer: has a mixture
  bool normalize = true;              // the weights of a token's experts add up to one
  double scale = 1.0;                 // of these weights (DeepSeek)
  double jitter = 0.0;                // Phi-MoE: router_jitter_noise, see RouterScore::sparse_mixer
  int64_t groups = 1, kept = 1;       // experts are chosen within the best groups (DeepSeek)
  double balance_weight = 0.0;        // of the loss that keeps experts in even use; 0: not asked for
  double published_balance = 0.0;     // that weight as config.json has it, asked for or not
  double alpha = 1.702, limit = 7.0;  // of the activation of gpt_oss

  bool operator==(const MixtureConfig&) const = default;
};

// Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434). kv_rank == 0: plain attention.
struct LatentConfig {
  int64_t kv_rank = 0;
  int64_t q_rank = 0;                        // 0: queries are projected in one step
  int64_t plain = 0, rotary = 0, value = 0;  // of a head: key without and with position, value

  bool operator==(const LatentConfig&) const = default;
};

// How a model knows where a token stands.
enum class PositionKind {
  rotary,   // turns queries and keys by angles (RopeConfig)
  learned,  // adds a trained row for each position: nothing beyond context_length
  alibi,    // a bias of the scores that grows with the distance (arXiv:2108.12409)
};

struct ModelConfig {
  std::string architecture;  // row of the table in arch/: "llama", "mistral", "qwen2", "qwen3", …
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;  // not always hidden_size / heads
  int64_t context_length = 0;
  double norm_eps = 1e-6;
  std::string activation = "silu";     // Hugging Face's name: silu, gelu, gelu_pytorch_tanh, gelu_new, relu, …
  bool attention_bias = false;         // on q, k, v
  bool attention_output_bias = false;  // on o
  bool mlp_bias = false;
  bool tied_embeddings = false;
  bool head_bias = false;  // Phi-MoE
  double initializer_range = 0.02;
  PositionKind positions = PositionKind::rotary;
  RopeConfig rope;
  std::optional<RopeConfig> sliding_rope;  // of the layers that slide, where it is another one (Gemma 3)
  // Granite: factors of the embedding, of what a block adds to the residual, and a divisor of the logits.
  double embedding_multiplier = 1.0, residual_multiplier = 1.0, logits_divisor = 1.0;
  double attention_multiplier = 0.0;                     // Granite: of q·k; 0: 1/√head_dim
  double query_pre_attn_scalar = 0.0;                    // Gemma 2, 3: q·k is divided by its root; 0: head_dim
  double attention_softcap = 0.0, logits_softcap = 0.0;  // Gemma 2: cap · tanh(z / cap); 0: none
  MixtureConfig mixture;
  LatentConfig latent;
  // The families with layer norms.
  bool parallel_residual = false;    // x + attention(norm(x)) + mlp(norm(x)): gpt_neox, falcon
  bool norm_before = true;           // OPT: norms before attention and MLP, else after their residuals
  bool final_norm = true;            // OPT: a norm after the last layer
  bool norm_weights = true;          // OPT: false: norms have neither weight nor bias
  bool residual_after_norm = false;  // BLOOM: the residual is the normed value
  bool query_key_norm = false;       // Phi: a norm of each head of q and k
  bool grouped_qkv = false;          // Falcon: the 40B layout of the fused projection, else the 7B one
  int64_t parallel_norms = 1;        // Falcon: 2: attention and MLP have norms of their own
  int64_t embedding_width = 0;       // OPT: of a token's embedding, with projections to and from hidden_size; 0: hidden
  // Sliding attention: a query sees the `sliding_window` keys up to and with itself. 0: no layer slides.
  int64_t sliding_window = 0;
  std::vector<bool> layer_slides;  // one per layer; empty when no layer slides

  std::optional<int64_t> bos_token_id, pad_token_id;
  std::vector<int64_t> eos_token_ids;
  DType stored_dtype = DType::f32;  // of the checkpoint, as its config says

  bool operator==(const ModelConfig&) const = default;

  int64_t rotary_dim() const {  // how many values of a head rotate
    if (latent.kv_rank > 0) return latent.rotary;
    return static_cast<int64_t>(static_cast<double>(head_dim) * rope.partial_rotary_factor) / 2 * 2;
  }
  int64_t window_of_layer(int64_t layer) const {  // 0: full attention
    return !layer_slides.empty() && layer_slides[static_cast<size_t>(layer)] ? sliding_window : 0;
  }
};

// Parses a Hugging Face config.json, in the layout of transformers 5 (`rope_parameters`, `dtype`) or any before it
// (`rope_theta`, `rope_scaling`, `torch_dtype`). Checks that every size is present, positive and consistent and that
// `model_type` is one that arch/ knows. `source` names the file in errors. Throws a caller Error.
ModelConfig parse_hf_config(std::string_view json, std::string_view source);

// The divisors of each frequency, head_dim / 2 of them, that the llama3 scaling of `rope` amounts to: 1 for short
// waves, `factor` for long ones. GGUF files hold them as the tensor rope_freqs.weight.
std::vector<double> llama3_frequency_divisors(const RopeConfig& rope, int64_t head_dim);

// The reverse of parse_hf_config: a config.json that transformers 5 loads for this model. Throws a caller Error where
// that format cannot express it.
std::string write_hf_config(const ModelConfig& config, DType stored_dtype);

}  // namespace plimsoll
