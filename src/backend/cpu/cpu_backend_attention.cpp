#include <array>

#include "backend/cpu/attention/attention.h"
#include "backend/cpu/attention/expand_latent.h"
#include "backend/cpu/attention/kv_cache.h"
#include "backend/cpu/cpu_adapters.h"
#include "base/bytes.h"
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

// A single query reads any cache; more of them want its values in the arithmetic's type.
bool reads_cache_as_it_is(const AttentionAttrs& attrs, DType compute, DType cache) {
  return attrs.query_length == 1 || cache == compute;
}
int64_t unpacked_cache_bytes(const AttentionAttrs& attrs, int64_t width, DType compute) {
  return round_up(dtype_bytes(compute, attrs.kv_length * attrs.kv_heads * width), 64);
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
  const DType cache = c.operand(3).dtype;
  const std::array widths = {attrs.head_dim, attrs.values()};
  // Caches hold their heads side by side, wherever the heads of a projection lie.
  for (size_t i = 0; i < 2; ++i)
    cpu::store_cache(
        c.pool,
        {in[1 + i], shape.dtype, attrs.query_length, attrs.kv_heads, widths[i],
         i == 0 ? shape.k_row_stride : shape.v_row_stride, i == 0 ? shape.head_stride() : shape.value_stride()},
        cache, c.operands[3 + i] + dtype_bytes(cache, past * attrs.kv_heads * widths[i]));
  shape.k_row_stride = attrs.kv_heads * attrs.head_dim;
  shape.v_row_stride = attrs.kv_heads * attrs.values();
  shape.kv_head_stride = 0;
  shape.kv_len = past + attrs.query_length;
  shape.q_offset = past;
  std::array<const std::byte*, 2> seen = {c.operands[3], c.operands[4]};
  std::byte* workspace = c.workspace.data();
  if (reads_cache_as_it_is(attrs, shape.dtype, cache)) {
    shape.cache = cache;
  } else {
    for (size_t i = 0; i < 2; ++i) {
      const int64_t width = attrs.kv_heads * widths[i];
      cpu::load_cache(c.pool, cache, seen[i], shape.kv_len, width, shape.dtype, workspace);
      seen[i] = workspace;
      workspace += unpacked_cache_bytes(attrs, widths[i], shape.dtype);
    }
  }
  PLIMSOLL_CHECK(workspace - c.workspace.data() + cpu::attention_workspace_bytes(shape, false, c.pool.threads()) <=
                     static_cast<int64_t>(c.workspace.size()),
                 "attention over a part of the cache needs no more scratch than over all of it");
  cpu::attention_forward(c.pool, shape, in[0], seen[0], seen[1], nullptr, nullptr, c.results[0], nullptr, workspace,
                         c.has_operand(5) ? c.operands[5] : nullptr);
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
    const DType cache = graph.value(op.operands[3]).dtype;
    if (reads_cache_as_it_is(attrs, shape.dtype, cache)) {
      shape.cache = cache;
    } else {
      return unpacked_cache_bytes(attrs, attrs.head_dim, shape.dtype) +
             unpacked_cache_bytes(attrs, attrs.values(), shape.dtype) +
             cpu::attention_workspace_bytes(shape, false, threads);
    }
  }
  return cpu::attention_workspace_bytes(shape, backward, threads);
}

}  // namespace plimsoll::cpu_adapters
