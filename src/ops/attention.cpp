// attention(q (B·Tq, heads·D), k (B·Tk, kv_heads·D), v (B·Tk, kv_heads·Dv), segment_ids (B·Tk) i32,
//   segment_start (B·Tk) i32, [sinks (heads)]) -> out (B·Tq, heads·Dv), log-sum-exp (B, heads, Tq) f32.
// Query i sees key j when j ≤ i, both are in one segment (≥ 0), and i - j < window.
// A fused projection (QkvLayout) is one operand, qkv (B·T, width), in the place of q; k and v are absent.
// A head's sink is a score without a value: it takes its share of the softmax (gpt-oss; Xiao et al. 2023,
// arXiv:2309.17453).
// Saves: q, k, v, out and the log-sum-exp, never the Tq×Tk matrix (Dao et al. 2022, arXiv:2205.14135).
#include <algorithm>

#include "ops/gradient_builder.h"
#include "ops/op_table.h"
#include "ops/shape_check.h"

namespace plimsoll {
namespace {

// Two matmuls over the causal half (or the window's band).
double forward_flops(const Op& op) {
  const auto& a = op.attributes<AttentionAttrs>();
  const auto queries = static_cast<double>(a.query_length);
  const auto keys = static_cast<double>(a.kv_length);
  double pairs = queries * keys / 2;
  if (a.window > 0) pairs = std::min(pairs, queries * static_cast<double>(a.window));
  return 2.0 * static_cast<double>(a.batch * a.heads * (a.head_dim + a.values())) * pairs;
}

void check_parts(const Graph& graph, const Op& op, int64_t kv_length) {
  const auto& a = op.attributes<AttentionAttrs>();
  const Value& q = operand(graph, op, 0);
  expect(a.heads % a.kv_heads == 0, op, "kv_heads divides heads");
  if (a.qkv.fused()) {
    expect(a.qkv.width == (a.heads + 2 * a.kv_heads) * a.head_dim && a.values() == a.head_dim, op,
           "a fused row holds all heads");
    expect(a.query_length == kv_length && q.shape == Shape{a.batch * a.query_length, a.qkv.width}, op,
           "qkv is (B·T, width)");
    expect(!has_operand(op, 1) && !has_operand(op, 2), op, "k and v are in qkv");
    return;
  }
  expect(q.shape == Shape{a.batch * a.query_length, a.heads * a.head_dim}, op, "q is (B·Tq, heads·D)");
  expect(operand(graph, op, 1).shape == Shape{a.batch * kv_length, a.kv_heads * a.head_dim}, op,
         "k is (B·Tk, kv_heads·D)");
  expect(operand(graph, op, 2).shape == Shape{a.batch * kv_length, a.kv_heads * a.values()}, op,
         "v is (B·Tk, kv_heads·Dv)");
}

}  // namespace

OpDef attention_def() {
  return {.kind = OpKind::attention,
          .name = "attention",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const auto& a = op.attributes<AttentionAttrs>();
            check_parts(graph, op, a.kv_length);
            const Value& q = operand(graph, op, 0);
            if (a.has_sinks) expect(operand(graph, op, 5).shape == Shape{a.heads}, op, "sinks are (heads)");
            return {result_of("", q.dtype, {a.batch * a.query_length, a.heads * a.values()}),
                    result_of("log_sum_exp", DType::f32, {a.batch, a.heads, a.query_length})};
          },
          .gradient =
              [](GradientBuilder& builder, const Op& op) {
                std::vector<ValueId> operands = {builder.gradient_of(op.results[0])};
                operands.insert(operands.end(), op.operands.begin(), op.operands.begin() + 3);
                operands.push_back(op.results[0]);
                operands.push_back(op.results[1]);
                operands.insert(operands.end(), op.operands.begin() + 3, op.operands.begin() + 5);
                const auto grads = builder.add(OpKind::attention_grad, operands, op.attrs, op, ".grad");
                for (size_t i = 0; i < grads.size(); ++i) builder.accumulate(op.operands[i], grads[i], op);
                const ValueId sinks = op.attributes<AttentionAttrs>().has_sinks ? op.operands[5] : kNoValue;
                if (const ValueId accumulator = builder.accumulator(sinks); accumulator != kNoValue)
                  builder.add(OpKind::attention_sink_grad,
                              {operands[0], op.results[0], op.results[1], sinks, accumulator}, op.attrs, op,
                              ".grad_sinks");
              },
          .flops = [](const Graph&, const Op& op) { return forward_flops(op); }};
}

// attention_grad(dout, q, k, v, out, log_sum_exp, segment_ids, segment_start) -> dq, dk, dv, or dqkv
OpDef attention_grad_def() {
  return {.kind = OpKind::attention_grad,
          .name = "attention_grad",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            std::vector<Value> results;
            if (op.attributes<AttentionAttrs>().qkv.fused()) {
              const Value& qkv = operand(graph, op, 1);
              return {result_of("qkv", qkv.dtype, qkv.shape)};
            }
            for (size_t i = 0; i < 3; ++i) {
              const Value& source = operand(graph, op, 1 + i);
              results.push_back(result_of(std::string(1, "qkv"[i]), source.dtype, source.shape));
            }
            return results;
          },
          .flops = [](const Graph&, const Op& op) { return 2.5 * forward_flops(op); }};
}

// attention_sink_grad(dout, out, log_sum_exp, sinks (heads), accumulator (heads) f32, updated): a sink's probability is
// exp(sink - log_sum_exp), its value zero, so its gradient is -Σ probability · (dout · out).
OpDef attention_sink_grad_def() {
  return {.kind = OpKind::attention_sink_grad,
          .name = "attention_sink_grad",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            expect(operand(graph, op, 0).shape == operand(graph, op, 1).shape, op, "dout is as out");
            expect(operand(graph, op, 3).shape == operand(graph, op, 4).shape, op, "the accumulator is (heads)");
            return {};
          },
          .mutates = [](const Op&, int index) { return index == 4; }};
}

// cached_attention(q (n, heads·D), k (n, kv_heads·D), v, k_cache (capacity, kv_heads·D) updated, v_cache updated,
// [sinks]) -> out. Appends k and v at the run's past length, then attends over past and present.
OpDef cached_attention_def() {
  return {.kind = OpKind::cached_attention,
          .name = "cached_attention",
          .infer = [](const Graph& graph, const Op& op) -> std::vector<Value> {
            const auto& a = op.attributes<AttentionAttrs>();
            const Value& q = operand(graph, op, 0);
            check_parts(graph, op, a.query_length);
            expect(operand(graph, op, 3).shape == Shape{a.kv_length, a.kv_heads * a.head_dim}, op,
                   "the cache is (capacity, kv_heads·D)");
            const DType cache = operand(graph, op, 3).dtype;
            const int block = dtype_info(cache).block_elements;
            expect(
                cache == operand(graph, op, 4).dtype && block > 0 && a.head_dim % block == 0 && a.values() % block == 0,
                op, "a head is whole blocks of the cache's type");
            return {result_of("", q.dtype, {a.query_length, a.heads * a.values()})};
          },
          .flops = [](const Graph&, const Op& op) { return 2 * forward_flops(op); },
          .mutates = [](const Op&, int index) { return index == 3 || index == 4; }};
}

}  // namespace plimsoll
