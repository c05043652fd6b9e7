// A language model as transformers builds it, on a Tape: parameters allocated in module order, and the forward pass of
// the family's modelling code, line by line as far as tensors live.
#pragma once

#include <memory>
#include <vector>

#include "engines/eager/torch_ops.h"
#include "engines/engine_run.h"

namespace plimsoll::eager {

struct Linear {
  Parameter* weight = nullptr;
  Parameter* bias = nullptr;  // may be none
  Parameter* lora_a = nullptr;
  Parameter* lora_b = nullptr;
  int64_t in = 0, out = 0;
  bool conv1d = false;            // GPT-2: the weight is stored in × out
  std::vector<Tensor> quantized;  // packed weight and the state to read it; the weight parameter is not there then
};

struct Norm {
  Parameter* weight = nullptr;
  Parameter* bias = nullptr;
};

struct Experts {
  Parameter* router = nullptr;
  Linear router_linear;  // Phi-MoE: quantized and adapted as other linear layers, in place of `router`
  Parameter *router_a = nullptr, *router_b = nullptr;
  Parameter* gate_up = nullptr;                                                     // (experts · 2 width) × hidden
  Parameter* down = nullptr;                                                        // (experts · hidden) × width
  Parameter *router_bias = nullptr, *gate_up_bias = nullptr, *down_bias = nullptr;  // GPT-OSS
  // Adapters of the expert weights (PEFT's all-linear): factors of every expert, gate and up sharing a rank of 2r.
  Parameter *gate_up_a = nullptr, *gate_up_b = nullptr, *down_a = nullptr, *down_b = nullptr;
};

struct Layer {
  Norm norm[4];
  Norm q_norm, k_norm;
  Linear q, k, v, qkv, o;
  Linear q_a, q_b, kv_a, kv_b;  // latent attention
  Norm latent_q_norm, latent_kv_norm;
  Parameter* sinks = nullptr;
  Linear gate, up, gate_up, down;  // beside experts: of the shared ones
  Experts experts;
};

struct Fsdp2;

struct Model {
  const ModelConfig* config = nullptr;
  EngineRecipe recipe;
  std::vector<std::unique_ptr<Parameter>> parameters;  // in the order of model.parameters()
  std::vector<Tensor> buffers;
  Parameter* embedding = nullptr;
  Parameter* positions = nullptr;
  Linear project_in, project_out;  // OPT: where embeddings are narrower than the layers
  Norm embedding_norm;             // BLOOM
  Norm final_norm;
  Linear head;  // its weight may be the embedding
  std::vector<Layer> layers;
  bool amp = false;
  Fsdp2* sharding = nullptr;  // called around layers, where there is one
};

Type compute_type(const EngineRecipe& recipe);  // of activations where nothing else says

// Allocates. Throws a caller Error for a family that is not known here.
Model build_model(Torch& t, const ModelConfig& config, const EngineRecipe& recipe);

// ids: tokens × 1, i64. Returns the loss; everything else is dropped, as the Trainer does.
Tensor forward_loss(Torch& t, Model& model, const Tensor& ids);

// The parts, for tests and for sharded runs.
Tensor apply_linear(Torch& t, const Model& model, const Linear& linear, const Tensor& x);
// `probabilities`: of attention, in families whose layers return them beside their result.
Tensor apply_layer(Torch& t, const Model& model, size_t layer, const Tensor& x, const Tensor& cos, const Tensor& sin,
                   const Tensor& mask, Tensor& probabilities);

}  // namespace plimsoll::eager
