// Milliseconds of attention per layer. Arguments: dtype (0: f32, 1: bf16), batch, T, heads, kv_heads, head_dim,
// threads. SmolLM2's training shape is 4 x 512 tokens, 9 heads on 3, head_dim 64.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "backend/cpu/attention/attention.h"

namespace {

using plimsoll::DType;
using plimsoll::ThreadPool;
using plimsoll::cpu::AttentionShape;

struct Problem {
  AttentionShape shape;
  std::vector<uint16_t> q, k, v, out, dout, dq, dk, dv;  // bytes of either dtype
  std::vector<float> lse;
  void* workspace = nullptr;
  explicit Problem(const benchmark::State& state, int64_t q_len, bool backward) {
    shape.dtype = state.range(0) == 0 ? DType::f32 : DType::bf16;
    shape.batch = state.range(1);
    shape.kv_len = state.range(2);
    shape.q_len = q_len;
    shape.q_offset = shape.kv_len - q_len;
    shape.heads = state.range(3);
    shape.kv_heads = state.range(4);
    shape.head_dim = state.range(5);
    shape.q_row_stride = shape.out_row_stride = shape.heads * shape.head_dim;
    shape.k_row_stride = shape.v_row_stride = shape.kv_heads * shape.head_dim;
    shape.scale = 1.0F / std::sqrt(static_cast<float>(shape.head_dim));
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0.0F, 1.0F);
    const auto fill = [&](std::vector<uint16_t>& values, int64_t elements) {
      const bool narrow = shape.dtype == DType::bf16;
      values.resize(static_cast<size_t>(narrow ? elements : 2 * elements));
      for (int64_t i = 0; i < elements; ++i) {
        const float value = normal(random);
        if (narrow) values[static_cast<size_t>(i)] = plimsoll::f32_to_bf16(value);
        else std::memcpy(&values[static_cast<size_t>(2 * i)], &value, 4);
      }
    };
    for (auto* values : {&q, &out, &dout, &dq}) fill(*values, shape.batch * q_len * shape.q_row_stride);
    for (auto* values : {&k, &v, &dk, &dv}) fill(*values, shape.batch * shape.kv_len * shape.k_row_stride);
    lse.resize(static_cast<size_t>(shape.batch * shape.heads * q_len));
    const auto bytes = static_cast<size_t>(
        plimsoll::cpu::attention_workspace_bytes(shape, backward, static_cast<int>(state.range(6))));
    workspace = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
  }
  Problem(const Problem&) = delete;
  Problem& operator=(const Problem&) = delete;
  ~Problem() { std::free(workspace); }
  void forward(ThreadPool& pool) {
    attention_forward(pool, shape, q.data(), k.data(), v.data(), nullptr, nullptr, out.data(), lse.data(), workspace);
  }
  void backward(ThreadPool& pool) {
    attention_backward(pool, shape, dout.data(), q.data(), k.data(), v.data(), out.data(), lse.data(), nullptr, nullptr,
                       dq.data(), dk.data(), dv.data(), workspace);
  }
  double pairs() const {  // (query, key) pairs under the causal mask, over all heads
    return static_cast<double>(shape.batch * shape.heads * shape.q_len) *
           (static_cast<double>(shape.q_offset) + static_cast<double>(shape.q_len + 1) / 2);
  }
};

void report(benchmark::State& state, double flops) {
  state.counters["TFLOP/s"] =
      benchmark::Counter(flops * 1e-12 * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

void attention_forward_bench(benchmark::State& state) {
  Problem problem(state, state.range(2), false);
  ThreadPool pool(static_cast<int>(state.range(6)));
  for (auto _ : state) problem.forward(pool);
  report(state, problem.pairs() * 4.0 * static_cast<double>(problem.shape.head_dim));
}

void attention_backward_bench(benchmark::State& state) {
  Problem problem(state, state.range(2), true);
  ThreadPool pool(static_cast<int>(state.range(6)));
  problem.forward(pool);
  for (auto _ : state) problem.backward(pool);
  report(state, problem.pairs() * 10.0 * static_cast<double>(problem.shape.head_dim));
}

void attention_decode_bench(benchmark::State& state) {
  Problem problem(state, 1, false);
  ThreadPool pool(static_cast<int>(state.range(6)));
  for (auto _ : state) problem.forward(pool);
  const auto bytes = static_cast<int64_t>((problem.k.size() + problem.v.size()) * 2);
  state.SetBytesProcessed(state.iterations() * bytes);
}

void training_shapes(benchmark::internal::Benchmark* bench) {
  bench->UseRealTime()->Unit(benchmark::kMillisecond);
  for (const int64_t threads : {1, 2}) {
    bench->Args({1, 4, 512, 9, 3, 64, threads});
    bench->Args({0, 4, 512, 9, 3, 64, threads});
    bench->Args({1, 1, 2048, 9, 3, 64, threads});
    bench->Args({1, 1, 1024, 8, 8, 128, threads});
  }
}

void decode_shapes(benchmark::internal::Benchmark* bench) {
  bench->UseRealTime()->Unit(benchmark::kMicrosecond);
  for (const int64_t threads : {1, 2})
    for (const int64_t bf16 : {0, 1}) {
      bench->Args({bf16, 1, 2048, 9, 3, 64, threads});
      bench->Args({bf16, 1, 8192, 32, 8, 128, threads});
    }
}

}  // namespace

BENCHMARK(attention_forward_bench)->Apply(training_shapes);
BENCHMARK(attention_backward_bench)->Apply(training_shapes);
BENCHMARK(attention_decode_bench)->Apply(decode_shapes);
BENCHMARK_MAIN();
