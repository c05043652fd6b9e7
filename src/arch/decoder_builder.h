// The blocks that decoder families share. A family's file calls these in its own order.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "arch/architecture.h"

namespace plimsoll {

class DecoderBuilder {
 public:
  DecoderBuilder(const ModelConfig& config, const ForwardRequest& request);

  const ModelConfig& config() const { return config_; }
  void set_layer(int layer) { layer_ = layer; }

  // Norms multiply by offset + weight (Gemma: 1).
  void set_norm_offset(float offset) { norm_offset_ = offset; }

  ValueId parameter(const std::string& name, Shape shape, ParameterPart part);
  // (R, H) of input_ids, times scale; narrower with config.embedding_width
  ValueId embed(const std::string& name, double scale = 1.0);
  // (R, H) of position_ids: row first_row + position of a table with context_length rows behind the first ones.
  ValueId embed_positions(const std::string& name, int64_t first_row = 0);
  // `eps`: other than config.norm_eps.
  ValueId rms_norm(ValueId x, const std::string& path, int64_t width, ParameterPart part = ParameterPart::norm,
                   std::optional<double> eps = {});
  // As config.norm_weights says with weight and bias, or with neither. `width`: less than a row of x to norm each head.
  ValueId layer_norm(ValueId x, const std::string& path, int64_t width, ParameterPart part = ParameterPart::norm);
  ValueId linear(ValueId x, const std::string& path, int64_t outputs, bool bias, ParameterPart part,
                 bool adaptable = true);
  // transformers' Conv1D: a linear whose weight is stored (inputs, outputs); always with a bias.
  ValueId conv1d(ValueId x, const std::string& path, int64_t outputs, ParameterPart part);
  ValueId rope(ValueId x, int64_t heads);  // by the layer's table; the last values of each head with latent attention
  ValueId rope(ValueId qkv, const QkvLayout& layout);                       // of a fused projection
  ValueId attention(ValueId q, ValueId k, ValueId v, int64_t window);       // (R, heads · head_dim)
  ValueId attention(ValueId qkv, const QkvLayout& layout, int64_t window);  // of a fused projection
  ValueId activation(ValueId x, const std::string& path);
  ValueId gated_activation(ValueId gate, ValueId up, const std::string& path);
  ValueId add(ValueId a, ValueId b, const std::string& path);
  ValueId scale(ValueId x, double factor, const std::string& path);  // x itself for 1

  std::pair<ValueId, ValueId> split_columns(ValueId x, int64_t first, const std::string& path);
  // Attention with rotary positions and the layer's window, of q_proj, k_proj, v_proj, o_proj below `path`
  // ("….self_attn."): (R, H). q_norm and k_norm, RMS norms before the rotation, stand on each head or on whole rows.
  enum class QueryKeyNorm { none, heads, rows };
  ValueId self_attention(ValueId x, const std::string& path, bool bias, bool output_bias,
                         QueryKeyNorm norm = QueryKeyNorm::none);
  // act(gate(x)) · up(x), then down: the linears below `path` ("….mlp.").
  ValueId gated_mlp(ValueId x, const std::string& path, int64_t width, bool bias = false);
  // A mixture of experts below `path`, as its family has it.
  ValueId mixture(ValueId x, const std::string& path);
  // Multi-head latent attention below `path`, without the output projection: (R, heads · value).
  ValueId latent_attention(ValueId x, const std::string& path);

  // The end of every decoder: loss or logits of `hidden` (R, H) by the head of that name, or by the embedding when they
  // are tied.
  ForwardGraph finish(ValueId hidden, const std::string& head = "lm_head", bool head_bias = false);

 private:
  ValueId input(const char* name, Shape shape, DType dtype);
  std::vector<ValueId> emit_all(OpKind kind, std::vector<ValueId> operands, OpAttrs attrs, const std::string& name);
  ValueId expert_parameter(const std::string& name, Shape shape);
  // One matrix for each expert, "<path>experts.<e>.<name>"; or all in one tensor with biases.
  ValueId expert_linears(ValueId x, ValueId offsets, const std::string& path, const std::string& name, int64_t outputs);
  ValueId fused_expert_linears(ValueId x, ValueId offsets, const std::string& path, int64_t outputs);
  ValueId emit(OpKind kind, std::vector<ValueId> operands, OpAttrs attrs, const std::string& name);
  void add_rope_table();
  ValueId attend(std::vector<ValueId> parts, const QkvLayout& layout, int64_t window);

  const ModelConfig& config_;
  ForwardRequest request_;
  ForwardGraph result_;
  int layer_ = -1;
  ValueId embedding_ = kNoValue;
  ValueId positions_ = kNoValue;
  ValueId ids_ = kNoValue, segments_ = kNoValue, segment_start_ = kNoValue, cos_ = kNoValue, sin_ = kNoValue;
  ValueId sliding_cos_ = kNoValue, sliding_sin_ = kNoValue;
  float norm_offset_ = 0.0F;
  std::vector<ValueId> routed_;  // (logits, chosen experts) of each mixture so far
  int64_t experts_listed_ = 0;   // so far, over all layers
};

// A pre-norm block stack of the llama kind: attention with rotary positions, gated MLP; `query_key_norm`: an RMS norm
// over each head of q and k before rotation (Qwen3).
ForwardGraph build_llama_family(const ModelConfig& config, const ForwardRequest& request, bool query_key_norm);

ForwardGraph build_olmo2(const ModelConfig& config, const ForwardRequest& request);
ForwardGraph build_gemma(const ModelConfig& config, const ForwardRequest& request);  // gemma, gemma2, gemma3_text
ForwardGraph build_phi3(const ModelConfig& config, const ForwardRequest& request);
ForwardGraph build_gpt_oss(const ModelConfig& config, const ForwardRequest& request);
ForwardGraph build_deepseek(const ModelConfig& config, const ForwardRequest& request);  // deepseek_v2, deepseek_v3
// The families with layer norms, one file each.
ForwardGraph build_gpt2(const ModelConfig& config, const ForwardRequest& request);
ForwardGraph build_gpt_neox(const ModelConfig& config, const ForwardRequest& request);
ForwardGraph build_phimoe(const ModelConfig& config, const ForwardRequest& request);
ForwardGraph build_phi(const ModelConfig& config, const ForwardRequest& request);
ForwardGraph build_opt(const ModelConfig& config, const ForwardRequest& request);
ForwardGraph build_falcon(const ModelConfig& config, const ForwardRequest& request);
ForwardGraph build_bloom(const ModelConfig& config, const ForwardRequest& request);
ForwardGraph build_starcoder2(const ModelConfig& config, const ForwardRequest& request);

}  // namespace plimsoll
