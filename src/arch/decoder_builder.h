// The blocks that decoder families share. A family's file calls these in its own order.
#pragma once

#include <string>
#include <vector>

#include "arch/architecture.h"

namespace plimsoll {

class DecoderBuilder {
 public:
  DecoderBuilder(const ModelConfig& config, const ForwardRequest& request);

  const ModelConfig& config() const { return config_; }
  void set_layer(int layer) { layer_ = layer; }

  ValueId parameter(const std::string& name, Shape shape, ParameterPart part);
  ValueId embed(const std::string& name);  // (R, H) of input_ids; narrower with config.embedding_width
  // (R, H) of position_ids: row first_row + position of a table with context_length rows behind the first ones.
  ValueId embed_positions(const std::string& name, int64_t first_row = 0);
  ValueId rms_norm(ValueId x, const std::string& path, int64_t width, ParameterPart part = ParameterPart::norm);
  // As config.norm_weights says with weight and bias, or with neither. `width`: less than a row of x to norm each head.
  ValueId layer_norm(ValueId x, const std::string& path, int64_t width, ParameterPart part = ParameterPart::norm);
  ValueId linear(ValueId x, const std::string& path, int64_t outputs, bool bias, ParameterPart part);
  // transformers' Conv1D: a linear whose weight is stored (inputs, outputs); always with a bias.
  ValueId conv1d(ValueId x, const std::string& path, int64_t outputs, ParameterPart part);
  ValueId rope(ValueId x, int64_t heads);
  ValueId rope(ValueId qkv, const QkvLayout& layout);                       // of a fused projection
  ValueId attention(ValueId q, ValueId k, ValueId v, int64_t window);       // (R, heads · head_dim)
  ValueId attention(ValueId qkv, const QkvLayout& layout, int64_t window);  // of a fused projection
  ValueId activation(ValueId x, const std::string& path);
  ValueId gated_activation(ValueId gate, ValueId up, const std::string& path);
  ValueId add(ValueId a, ValueId b, const std::string& path);

  // The end of every decoder: loss or logits of `hidden` (R, H) by the head of that name, or by the embedding when they
  // are tied.
  ForwardGraph finish(ValueId hidden, const std::string& head = "lm_head", bool head_bias = false);

 private:
  ValueId input(const char* name, Shape shape, DType dtype);
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
};

// A pre-norm block stack of the llama kind: attention with rotary positions, gated MLP; `query_key_norm`: an RMS norm
// over each head of q and k before rotation (Qwen3).
ForwardGraph build_llama_family(const ModelConfig& config, const ForwardRequest& request, bool query_key_norm);

// The families with layer norms, one file each.
ForwardGraph build_gpt2(const ModelConfig& config, const ForwardRequest& request);
ForwardGraph build_gpt_neox(const ModelConfig& config, const ForwardRequest& request);
ForwardGraph build_phi(const ModelConfig& config, const ForwardRequest& request);
ForwardGraph build_opt(const ModelConfig& config, const ForwardRequest& request);
ForwardGraph build_falcon(const ModelConfig& config, const ForwardRequest& request);
ForwardGraph build_bloom(const ModelConfig& config, const ForwardRequest& request);
ForwardGraph build_starcoder2(const ModelConfig& config, const ForwardRequest& request);

}  // namespace plimsoll
