#include <array>
#include <cstring>

#include "backend/cpu/attention/attention.h"
#include "backend/cpu/cpu_adapters.h"
#include "backend/cpu/mixture.h"
#include "base/error.h"

namespace plimsoll::cpu_adapters {
namespace {

cpu::AttentionShape shape_of(const AttentionAttrs& attrs, DType dtype) {
  cpu::AttentionShape shape;
  shape.batch = attrs.batch;
  shape.q_len = attrs.query_length;
  shape.kv_len = attrs.kv_length;
  shape.heads = attrs.heads;
  shape.kv_heads = attrs.kv_heads;
  shape.head_dim = attrs.head_dim;
  shape.value_dim = attrs.values();
  shape.q_row_stride = attrs.heads * attrs.head_dim;
  shape.k_row_stride = attrs.kv_heads * attrs.head_dim;
  shape.v_row_stride = attrs.kv_heads * attrs.values();
  shape.out_row_stride = attrs.heads * attrs.values();
  shape.window = attrs.window;
  shape.scale = attrs.scale;
  shape.softcap = attrs.softcap;
  shape.dtype = dtype;
  shape.alibi_factor = attrs.alibi.factor;
  shape.alibi_bf16 = attrs.alibi.bf16_steps;
  if (attrs.qkv.fused()) {
    shape.q_row_stride = shape.k_row_stride = shape.v_row_stride = attrs.qkv.width;
    shape.q_group_stride = attrs.qkv.group_stride;
    shape.kv_head_stride = attrs.qkv.kv_stride;
  }
  return shape;
}

// Where q, k and v begin: three values, or columns of one.
template <typename Pointers>
auto parts_of(const AttentionAttrs& attrs, const Pointers& values, size_t first, DType dtype) {
  std::array parts = {values[first], values[first], values[first]};
  if (attrs.qkv.fused()) {
    parts[0] += dtype_bytes(dtype, attrs.qkv.q_column);
    parts[1] += dtype_bytes(dtype, attrs.qkv.k_column);
    parts[2] += dtype_bytes(dtype, attrs.qkv.v_column);
  } else {
    parts[1] = values[first + 1];
    parts[2] = values[first + 2];
  }
  return parts;
}

}  // namespace

void attention(const KernelContext& c) {
  const auto& attrs = c.op.attributes<AttentionAttrs>();
  const cpu::AttentionShape shape = shape_of(attrs, c.operand(0).dtype);
  const auto in = parts_of(attrs, c.operands, 0, shape.dtype);
  cpu::attention_forward(c.pool, shape, in[0], in[1], in[2], c.in<int32_t>(3), c.in<int32_t>(4), c.results[0],
                         c.out<float>(1), c.workspace.data(), c.has_operand(5) ? c.operands[5] : nullptr);
}

void attention_grad(const KernelContext& c) {
  const auto& attrs = c.op.attributes<AttentionAttrs>();
  const cpu::AttentionShape shape = shape_of(attrs, c.operand(1).dtype);
  const auto in = parts_of(attrs, c.operands, 1, shape.dtype);
  const auto out = parts_of(attrs, c.results, 0, shape.dtype);
  cpu::attention_backward(c.pool, shape, c.operands[0], in[0], in[1], in[2], c.operands[4], c.in<float>(5),
                          c.in<int32_t>(6), c.in<int32_t>(7), out[0], out[1], out[2], c.workspace.data());
}

void cached_attention(const KernelContext& c) {
  const auto& attrs = c.op.attributes<AttentionAttrs>();
  const int64_t past = c.state.past_length;
  PLIMSOLL_CHECK(past >= 0 && past + attrs.query_length <= attrs.kv_length, "the cache is full");
  cpu::AttentionShape shape = shape_of(attrs, c.operand(0).dtype);
  const auto in = parts_of(attrs, c.operands, 0, shape.dtype);
  // Caches hold their heads side by side, wherever the heads of a projection lie.
  for (size_t i = 0; i < 2; ++i) {
    const int64_t width = i == 0 ? attrs.head_dim : attrs.values();
    const int64_t head_bytes = dtype_bytes(shape.dtype, width), row_bytes = attrs.kv_heads * head_bytes;
    const int64_t row_stride = i == 0 ? shape.k_row_stride : shape.v_row_stride;
    const int64_t head_stride = i == 0 ? shape.head_stride() : shape.value_stride();
    std::byte* cache = c.operands[3 + i] + past * row_bytes;
    for (int64_t row = 0; row < attrs.query_length; ++row)
      for (int64_t head = 0; head < attrs.kv_heads; ++head)
        std::memcpy(cache + row * row_bytes + head * head_bytes,
                    in[1 + i] + dtype_bytes(shape.dtype, row * row_stride + head * head_stride),
                    static_cast<size_t>(head_bytes));
  }
  shape.k_row_stride = attrs.kv_heads * attrs.head_dim;
  shape.v_row_stride = attrs.kv_heads * attrs.values();
  shape.kv_head_stride = 0;
  shape.kv_len = past + attrs.query_length;
  shape.q_offset = past;
  PLIMSOLL_CHECK(
      cpu::attention_workspace_bytes(shape, false, c.pool.threads()) <= static_cast<int64_t>(c.workspace.size()),
      "attention over a part of the cache needs no more scratch than over all of it");
  cpu::attention_forward(c.pool, shape, in[0], c.operands[3], c.operands[4], nullptr, nullptr, c.results[0], nullptr,
                         c.workspace.data(), c.has_operand(5) ? c.operands[5] : nullptr);
}

void attention_sink_grad(const KernelContext& c) {
  const cpu::AttentionShape shape = shape_of(c.op.attributes<AttentionAttrs>(), c.operand(0).dtype);
  cpu::attention_sink_backward(c.pool, shape, c.operands[0], c.operands[1], c.in<float>(2), c.operands[3],
                               c.in<float>(4));
}

void expand_latent(const KernelContext& c) {
  const auto& a = c.op.attributes<ExpandLatentAttrs>();
  cpu::expand_latent_forward(c.pool, {c.operand(0).shape[0], a.heads, a.plain, a.rotary, a.value, c.operand(0).dtype},
                             c.operands[0], c.operands[1], c.results[0], c.results[1]);
}

void expand_latent_grad(const KernelContext& c) {
  const auto& a = c.op.attributes<ExpandLatentAttrs>();
  cpu::expand_latent_backward(c.pool, {c.operand(0).shape[0], a.heads, a.plain, a.rotary, a.value, c.operand(0).dtype},
                              c.operands[0], c.has_operand(1) ? c.operands[1] : nullptr, c.results[0], c.results[1]);
}

int64_t attention_workspace(const Graph& graph, const Op& op, int threads) {
  const auto& attrs = op.attributes<AttentionAttrs>();
  const bool backward = op.kind == OpKind::attention_grad;
  cpu::AttentionShape shape = shape_of(attrs, graph.value(op.operands[backward ? 1 : 0]).dtype);
  shape.q_offset = shape.kv_len - shape.q_len;
  if (op.kind == OpKind::cached_attention) {
    shape.k_row_stride = attrs.kv_heads * attrs.head_dim;
    shape.v_row_stride = attrs.kv_heads * attrs.values();
  }
  return cpu::attention_workspace_bytes(shape, backward, threads);
}

}  // namespace plimsoll::cpu_adapters
