// The one representation that planning and execution read: a list of ops over values, in execution order.
//
// A value is written by at most one op (its producer). The exceptions are persistent values (weights, gradient
// accumulators, optimizer state, caches): ops may update those in place, listed as `mutated` operands, and because the
// ops are in a total order that is well defined. Graphs of different phases share persistent values by name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/dtype.h"
#include "base/shape.h"
#include "config/model_config.h"
#include "quant/packed_matrix.h"

namespace plimsoll {

using ValueId = int32_t;
inline constexpr ValueId kNoValue = -1;

// What a value is for; the memory plan reports bytes by these.
enum class ValueKind : uint8_t {
  input,           // a batch: token ids, labels, positions; written by the host before the phase runs
  constant,        // small tables computed once (rotary frequencies)
  parameter,       // model weights as computed with
  adapter,         // low-rank matrices: f32 master and compute copy
  master_weights,  // f32 copies of trained parameters when compute is narrower
  gradient,        // f32 accumulators of trained parameters
  step_gradient,   // the same where it lives from its first to its last use in a step; not persistent
  optimizer_state,
  cache,       // keys and values of past tokens
  activation,  // everything else: lives from its producer to its last use
  io_staging,  // bytes on their way between disk and their place
  streamed,    // weights that lie on disk and are here while a layer computes; read straight from there
  fetched,     // activations that lay on disk in between, likewise
};
bool is_persistent(ValueKind kind);  // lives across phases, at one place
inline bool is_read_from_disk(ValueKind kind) { return kind == ValueKind::streamed || kind == ValueKind::fetched; }
inline bool may_be_updated(ValueKind kind) { return is_persistent(kind) || kind == ValueKind::step_gradient; }
const char* name_of(ValueKind kind);

struct Value {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  ValueKind kind = ValueKind::activation;
  int producer = -1;      // index into Graph::ops; -1: input or persistent
  bool trainable = true;  // of a parameter: false for a buffer that is stored with the weights

  int64_t bytes() const { return tensor_bytes(dtype, shape); }
};

// An op has one name everywhere: here, ops/<name>.cpp, backend/cpu/<name>.cpp, the op test.
enum class OpKind : uint8_t {
  embedding,
  embedding_grad,
  rms_norm,
  rms_norm_grad,
  layer_norm,
  layer_norm_grad,
  linear,
  linear_grad_weight,
  bias_grad,
  rope_table,
  rope,
  attention,
  attention_grad,
  attention_sink_grad,
  cached_attention,
  expand_latent,
  expand_latent_grad,
  gated_activation,
  gated_activation_grad,
  clamped_swiglu,
  clamped_swiglu_grad,
  route,
  route_grad,
  route_balance,
  route_balance_grad,
  expert_gather,
  expert_gather_grad,
  grouped_linear,
  grouped_linear_grad_weight,
  grouped_bias_grad,
  expert_combine,
  expert_combine_grad,
  activation,
  activation_grad,
  add,
  linear_cross_entropy,
  linear_cross_entropy_grad,
  gather_rows,
  split_columns,
  split_columns_grad,
  scale,
  softcap,
  dropout,
  dora_norm,
  scale_columns,
  scale_columns_grad,
  convert,
  cast,
  fake_quant,
  fill_zero,
  begin_gradient,
  square_sum,
  clip_coefficient,
  optimizer_update,
  load_tensor,
  init_tensor,
  save_tensor,
  lay_out_tensor,
  offload_tensor,
  prefetch_tensor,
  await_tensors,
};
inline constexpr int kOpKindCount = static_cast<int>(OpKind::await_tensors) + 1;

// --- attributes, one struct for each op that has any ----------------------------------------------------------------

struct EmbeddingAttrs {
  float scale = 1.0F;
  int64_t first_row = 0;  // added to each id: OPT's table of positions begins with two rows that nothing reads
  std::optional<DType> result_dtype = {};  // empty: as the weight, which is not packed then
};
struct RmsNormAttrs {
  float eps = 1e-6F;
  float weight_offset = 0.0F;  // 1: the weight is stored less one (Gemma)
  bool operator==(const RmsNormAttrs&) const = default;
};
struct LayerNormAttrs {
  float eps = 1e-5F;
};
struct LinearAttrs {
  float alpha = 1.0F;            // y = alpha · x wᵀ + bias + addend
  bool transpose_x = false;      // x is stored (K, M); no gradient
  bool transpose_weight = true;  // true: w is (N, K), as Hugging Face stores it; false: w is (K, N)
  bool has_bias = false;
  bool has_addend = false;                 // the last operand, same shape as y
  bool adaptable = true;                   // adapters may be put on it; not so on a router
  std::optional<DType> result_dtype = {};  // empty: as x
  bool starts_sum = false;                 // linear_grad_weight: overwrites in the first micro-batch of a step
};
// Where the heads of q, k and v lie in the rows of one fused projection. No view or copy of the parts exists: rope
// turns them where they are, attention reads them with strides and writes their gradients into one fused row. Query
// head h of group g = h / (heads / kv_heads) begins at q_column + g · group_stride + (h mod heads / kv_heads) ·
// head_dim, key (value) head g at k_column (v_column) + g · kv_stride. Every column belongs to one head.
struct QkvLayout {
  int64_t width = 0;  // columns of a row; 0: not fused, q, k and v are values of their own
  int64_t q_column = 0, k_column = 0, v_column = 0;
  int64_t group_stride = 0, kv_stride = 0;

  bool fused() const { return width > 0; }
  // [all q, all k, all v]: GPT-2, Phi-3, multi-query Falcon.
  static QkvLayout blocks(int64_t heads, int64_t kv_heads, int64_t head_dim);
  // (the group's q heads, k, v) for each group: GPT-NeoX and BLOOM, where a group is one head, and Falcon 40B.
  static QkvLayout groups(int64_t heads, int64_t kv_heads, int64_t head_dim);
};
struct RopeTableAttrs {
  float attention_scaling = 1.0F;
  int64_t first = 0, count = 0;  // which of the frequencies, where a model has several tables; count 0: all
};
struct RopeAttrs {
  int64_t heads = 0, head_dim = 0, rotary_dim = 0;
  RopeStyle style = RopeStyle::half;
  bool inverse = false;  // rotate by the negative angle: the gradient
  int64_t kv_heads = 0;  // fused only: x holds q, k and v; the heads of q and k turn, those of v pass through
  QkvLayout qkv = {};
  int64_t offset = 0;  // of the rotated values in each head; not of fused rows
};
// Linear biases of attention scores (Press et al. 2021, arXiv:2108.12409): score += factor · slope(head) · (j - i).
struct AlibiAttrs {
  float factor = 0.0F;      // 0: none; Falcon scales the bias as it scales the scores, BLOOM does not
  bool bf16_steps = false;  // slopes and slope · j rounded to bf16, as the reference code of Falcon has it
};
struct AttentionAttrs {
  int64_t batch = 0, query_length = 0, kv_length = 0, heads = 0, kv_heads = 0, head_dim = 0, window = 0;
  float scale = 1.0F;
  QkvLayout qkv = {};
  AlibiAttrs alibi = {};
  float softcap = 0.0F;    // 0: none; else score = softcap · tanh(score / softcap)
  int64_t value_dim = 0;   // of a head of v and of out; 0: head_dim. Not of a fused projection
  bool has_sinks = false;  // the last operand: a score for each head that takes its share of the softmax

  int64_t values() const { return value_dim > 0 ? value_dim : head_dim; }
};
struct ExpandLatentAttrs {
  int64_t heads = 0, plain = 0, rotary = 0, value = 0;  // the last three: of a head
};
enum class Activation : uint8_t { silu, gelu_tanh, gelu_erf, relu, quick_gelu, relu_squared };
struct ActivationAttrs {
  Activation activation = Activation::gelu_tanh;
};
struct GatedActivationAttrs {
  Activation activation = Activation::silu;
  bool with_product = false;  // gated_activation_grad: writes act(gate) · up too
};
struct ClampedSwigluAttrs {
  float alpha = 1.702F, limit = 7.0F;
};
enum class RouterScore : uint8_t {
  softmax,         // over all experts; then the best. The score of a group is that of its best
  chosen_softmax,  // the best logits; softmax over these
  sigmoid,         // the best of sigmoid + correction. The score of a group is the sum of its two best
  sparse_mixer,    // the best, with its share of a softmax over what comes near it; then the next among the others
};
struct RouteAttrs {
  int64_t experts = 0, top_k = 0;
  RouterScore score = RouterScore::softmax;
  bool normalize = false;                    // weights of a token add up to one (times scale)
  int64_t groups = 1, groups_kept = 1;       // softmax, sigmoid: choose within the best groups
  float scale = 1.0F;                        // softmax, sigmoid: of the weights
  float threshold = 0.0F;                    // sparse_mixer: how far below the best, relative to the larger, is near
  std::optional<DType> gradient_dtype = {};  // empty: as the logits
};
struct RouteBalanceAttrs {
  int64_t experts = 0, top_k = 0;
  float weight = 0.0F;
  std::optional<DType> gradient_dtype = {};  // empty: as the logits
};
struct GroupedLinearAttrs {
  int64_t experts = 0;
  bool transpose_weight = true;  // true: an expert's weight is (N, K); false: (K, N)
  bool fused = false;            // one operand (experts, …) instead of one for each expert
  bool has_bias = false;         // (experts, N)
  bool has_addend = false;       // same shape as the result
  bool adaptable = false;        // adapters may be put on it
};
struct CrossEntropyAttrs {
  int64_t chunk_rows = 0;
  bool has_bias = false;
  float softcap = 0.0F;  // of the logits; 0: none
};
struct SplitColumnsAttrs {
  int64_t first = 0;  // columns of the first part
};
struct ScaleAttrs {
  float factor = 1.0F;
};
struct SoftcapAttrs {
  float cap = 1.0F;
};
enum class UpdateRule : uint8_t { adamw, adam, sgd, adamw8bit, adafactor };
struct OptimizerAttrs {
  UpdateRule rule = UpdateRule::adamw;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.0, momentum = 0.0;
  double lr_scale = 1.0;
  DType state = DType::f32;      // adamw, adam: of the moments; bf16 is rounded stochastically
  bool scale_parameter = false;  // adafactor: the rate is relative to the weights' root mean square
  uint64_t stream = 0;           // of random bits, for each tensor its own
};
struct ClipAttrs {
  double max_norm = 0.0;   // 0: only measure
  bool from_sums = false;  // the operand holds what square_sum wrote, instead of gradients
};
struct BeginGradientAttrs {
  Shape shape = {};
  bool clear = true;  // false: its first writer overwrites it
};
struct SquareSumAttrs {
  int64_t slot = 0;
};
struct DropoutAttrs {
  double p = 0;         // the share that becomes zero; the others are divided by 1 - p
  uint64_t stream = 0;  // of random bits, for each place in the model its own
};
struct DoraNormAttrs {
  float scale = 1.0F;
  bool transpose_weight = true;  // as LinearAttrs
};
struct ScaleColumnsAttrs {
  bool rows = false;  // scale rows instead; no bias, no gradient
  bool has_bias = false;
};
struct ConvertAttrs {
  DType dtype = DType::f32;  // of the result
};
// Symmetric absmax quantization to `bits` and back, along the input dimension.
struct FakeQuantAttrs {
  int bits = 0;                  // 0: none
  int64_t group = 0;             // inputs that share a scale; 0: all of an output
  bool transpose_weight = true;  // as LinearAttrs
};
// Host ops name what they move; the executor's host services know where it lies.
struct TransferAttrs {
  std::string tensor;
  int64_t staging_bytes = 0;
  DType dtype = DType::f32;  // of a load's or a prefetch's result
  Shape shape = {};
  bool activation = false;  // prefetch_tensor: of a value of this step, not of a weight
};
enum class InitKind : uint8_t { zero, kaiming_uniform };
struct InitAttrs {
  InitKind kind = InitKind::zero;
  uint64_t stream = 0;
};  // stream: which random sequence, per tensor

using OpAttrs = std::variant<std::monostate, EmbeddingAttrs, RmsNormAttrs, LinearAttrs, RopeTableAttrs, RopeAttrs,
                             AttentionAttrs, GatedActivationAttrs, CrossEntropyAttrs, ScaleAttrs, SoftcapAttrs,
                             SplitColumnsAttrs, ExpandLatentAttrs, ClampedSwigluAttrs, RouteAttrs, RouteBalanceAttrs,
                             GroupedLinearAttrs, OptimizerAttrs, ClipAttrs, TransferAttrs, InitAttrs, LayerNormAttrs,
                             ActivationAttrs, BeginGradientAttrs, SquareSumAttrs, DropoutAttrs, DoraNormAttrs,
                             ScaleColumnsAttrs, ConvertAttrs, FakeQuantAttrs>;

enum class OpRole : uint8_t { forward, backward, recompute, update, transfer };
const char* name_of(OpRole role);

struct Op {
  OpKind kind = OpKind::add;
  std::vector<ValueId> operands;  // kNoValue for an absent optional operand
  std::vector<ValueId> results;
  OpAttrs attrs;
  OpRole role = OpRole::forward;
  int layer = -1;    // decoder layer it belongs to; -1: outside
  std::string name;  // "layers.12.mlp.gate_proj"

  template <typename T>
  const T& attributes() const {
    return std::get<T>(attrs);
  }
};

struct Graph {
  std::string phase;
  std::vector<Value> values;
  std::vector<Op> ops;
  // Read by the host after the phase; stay live to its end. Of a loss phase: the terms of the loss.
  std::vector<ValueId> outputs;

  const Value& value(ValueId id) const { return values[static_cast<size_t>(id)]; }
  Value& value(ValueId id) { return values[static_cast<size_t>(id)]; }
  ValueId find(std::string_view name) const;  // kNoValue when absent
};

}  // namespace plimsoll
