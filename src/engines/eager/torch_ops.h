// The ops of eager PyTorch that language models use, on a Tape: what each allocates forward and backward, and what it
// saves (derivatives.yaml of PyTorch 2.13). Shapes are rows times columns; (B, T, C) is (B·T) × C. Views allocate
// nothing and are plain copies of a Tensor with other rows and columns, except where their gradient has to be copied.
#pragma once

#include <span>

#include "engines/eager/tape.h"

namespace plimsoll::eager {

struct Torch : Tape {
  bool autocast = false;
  Type autocast_type = Type::bf16;
  // Copies of f32 leaves that autocast made, by storage id; they die when autocast ends.
  std::unordered_map<int32_t, Tensor> cast_cache;
};

Tensor view(Tensor x, int64_t rows, int64_t cols);
Type promote(Type a, Type b);

Tensor to(Torch& t, const Tensor& x, Type type);
Tensor lowered(Torch& t, const Tensor& x);  // as autocast does for an operand of a product
Tensor raised(Torch& t, const Tensor& x);   // as autocast does for a norm or a loss: f32

// Elementwise; one operand may be a column (rows × 1), a row (1 × cols) or smaller: its gradient is summed.
Tensor mul(Torch& t, const Tensor& a, const Tensor& b);
Tensor add(Torch& t, const Tensor& a, const Tensor& b);
Tensor sub(Torch& t, const Tensor& a, const Tensor& b);
Tensor mul_scalar(Torch& t, const Tensor& x, std::string_view name = "mul.Tensor");  // or div: one result each way
Tensor add_scalar(Torch& t, const Tensor& x);
Tensor pow_scalar(Torch& t, const Tensor& x, bool square);  // x², or x³
Tensor mean_columns(Torch& t, const Tensor& x);             // rows × 1
Tensor rsqrt(Torch& t, const Tensor& x);
Tensor neg(Torch& t, const Tensor& x);
Tensor sigmoid(Torch& t, const Tensor& x);
Tensor clamp(Torch& t, const Tensor& x, int bounds);  // 1: one bound, 2: both
// x, with y added to its values.
Tensor add_in_place(Torch& t, const Tensor& x, const Tensor& y);
// x minus its rows' largest values (x - x.max(dim=-1).values).
Tensor minus_largest(Torch& t, const Tensor& x);
// x with one more column: a value of each head.
Tensor with_column(Torch& t, const Tensor& x, const Tensor& column);
Tensor tanh(Torch& t, const Tensor& x);
// silu, gelu, relu: one op that saves its input (relu its result).
Tensor activation(Torch& t, const Tensor& x, std::string_view name);
Tensor dropout(Torch& t, const Tensor& x);
Tensor clone(Torch& t, const Tensor& x, std::string_view name = "clone.default");
// A view whose gradient arrives in another order of memory and has to be copied to be viewed.
Tensor copied_on_return(Torch& t, const Tensor& x);

// The same tensor, with something to be done when its gradient comes by.
Tensor on_gradient(Torch& t, const Tensor& x, std::function<void()> action);

// A part of each row; the gradient is a tensor of zeros as large as x with the part filled in.
Tensor slice(Torch& t, const Tensor& x, int64_t cols);
// Parts of each row made at once (chunk, split): the gradients are joined in one tensor.
std::vector<Tensor> split(Torch& t, const Tensor& x, std::span<const int64_t> cols);
Tensor cat(Torch& t, std::span<const Tensor> parts);
Tensor cat(Torch& t, const Tensor& a, const Tensor& b);
// Heads repeated n times (repeat_kv): the gradient is summed. With a copy, unless `copies` is false: a single head is
// seen n times.
Tensor repeat(Torch& t, const Tensor& x, int64_t n, bool copies = true);

// x·Wᵀ, with a bias or without (bias == nullptr). Autocast applies.
Tensor linear(Torch& t, const Tensor& x, const Tensor& weight, const Tensor* bias, int64_t out);
// A product of two batches of matrices: result and both gradients. Autocast applies.
Tensor bmm(Torch& t, const Tensor& a, const Tensor& b, int64_t rows, int64_t cols);

// Rows picked by an index; the gradient goes back through zeros and a filled copy of them.
Tensor gather_rows(Torch& t, const Tensor& x, int64_t rows, int64_t cols, std::string_view op, const Tensor& index);
// Sums of consecutive rows: rows of the result; the gradient is a view.
Tensor sum_groups(Torch& t, const Tensor& x, int64_t rows);
// Each row times its expert's matrix.
Tensor grouped_product(Torch& t, const Tensor& x, const Tensor& weight, int64_t out);
// weight + B·A of every expert, as one tensor of the weight's size.
Tensor merged_weight(Torch& t, const Parameter& weight, const Parameter& a, const Parameter& b);

Tensor embedding(Torch& t, const Tensor& ids, const Tensor& weight);
Tensor layer_norm(Torch& t, const Tensor& x, const Tensor* weight, const Tensor* bias);
Tensor softmax(Torch& t, const Tensor& x, Type type, std::string_view name = "_softmax.default");
Tensor log_softmax(Torch& t, const Tensor& x);
// The mean of the negative log-likelihood: 1 × 1.
Tensor nll_loss(Torch& t, const Tensor& x, const Tensor& target);
// The loss of logits in one op: chunks of them are widened in turn, the gradient takes their place.
Tensor fused_cross_entropy(Torch& t, const Tensor& logits, const Tensor& target);

// Fused attention: q (tokens × heads·dim), k and v (tokens × kv heads·dim), with the log-sum-exp of each row and head.
Tensor flash_attention(Torch& t, const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads);
Tensor efficient_attention(Torch& t, const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads,
                           int64_t padded_tokens, const Tensor& bias);

// Runs `forward` without keeping what it saves, and again when the backward pass first asks (torch.utils.checkpoint,
// use_reentrant=False, with early stop). `x` is kept until then.
Tensor checkpoint(Torch& t, const Tensor& x, const std::function<Tensor(const Tensor&)>& forward);

}  // namespace plimsoll::eager
