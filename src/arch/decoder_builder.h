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
  ValueId embed(const std::string& name);  // (R, H) of input_ids
  ValueId rms_norm(ValueId x, const std::string& path, int64_t width, ParameterPart part = ParameterPart::norm);
  ValueId linear(ValueId x, const std::string& path, int64_t outputs, bool bias, ParameterPart part);
  ValueId rope(ValueId x, int64_t heads);
  ValueId attention(ValueId q, ValueId k, ValueId v, int64_t window);  // (R, heads · head_dim)
  ValueId gated_activation(ValueId gate, ValueId up, const std::string& path);
  ValueId add(ValueId a, ValueId b, const std::string& path);

  // The end of every decoder: loss or logits of `hidden` (R, H) by lm_head, or by the embedding when they are tied.
  ForwardGraph finish(ValueId hidden);

 private:
  ValueId input(const char* name, Shape shape, DType dtype);
  ValueId emit(OpKind kind, std::vector<ValueId> operands, OpAttrs attrs, const std::string& name);

  const ModelConfig& config_;
  ForwardRequest request_;
  ForwardGraph result_;
  int layer_ = -1;
  ValueId embedding_ = kNoValue;
  ValueId ids_ = kNoValue, segments_ = kNoValue, segment_start_ = kNoValue, cos_ = kNoValue, sin_ = kNoValue;
};

// A pre-norm block stack of the llama kind: attention with rotary positions, gated MLP; `query_key_norm`: an RMS norm
// over each head of q and k before rotation (Qwen3).
ForwardGraph build_llama_family(const ModelConfig& config, const ForwardRequest& request, bool query_key_norm);

}  // namespace plimsoll
