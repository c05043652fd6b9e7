// Speed of the CPU kernels at the shapes of SmolLM2-135M training: R = 2048 rows (4 x 512 tokens), H 576, F 1536, V
// 49152.
//
//   kernels_bench                                  everything
//   kernels_bench --benchmark_filter='matmul.*/2$'  products on two threads
//
// Counters: flops per second for products, bytes per second (each operand once) for the rest. `lora_step` is the sum of
// the products of one LoRA r=16 step without the head.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backend/cpu/matmul/linear_cross_entropy.h"
#include "backend/cpu/matmul/matmul.h"
#include "backend/cpu/optimizer/grad_norm.h"
#include "backend/cpu/optimizer/optimizer.h"
#include "backend/cpu/rows/elementwise.h"
#include "backend/cpu/rows/embedding.h"
#include "backend/cpu/rows/rms_norm.h"
#include "backend/cpu/rows/rope.h"
#include "backend/cpu/rows/swiglu.h"

namespace {

using namespace plimsoll;
using namespace plimsoll::cpu;

constexpr int64_t kRows = 2048, kWidth = 576, kHidden = 1536, kVocab = 49152, kRank = 16;

// Memory with small random values that read well both as f32 and as bf16 pairs.
class Memory {
 public:
  explicit Memory(int64_t bytes)
      : data_(static_cast<uint16_t*>(std::aligned_alloc(4096, static_cast<size_t>((bytes + 4096) / 4096 * 4096)))) {
    std::mt19937 engine(1);
    for (int64_t i = 0; i < bytes / 2; ++i)
      data_.get()[i] = f32_to_bf16(static_cast<float>(engine() >> 8) / float{1 << 24} - 0.5F);
  }
  operator void*() const { return data_.get(); }
  operator float*() const { return reinterpret_cast<float*>(data_.get()); }
  operator uint16_t*() const { return data_.get(); }

 private:
  struct Free {
    void operator()(uint16_t* p) const { std::free(p); }
  };
  std::unique_ptr<uint16_t, Free> data_;
};

int64_t bytes_of(DType dtype, int64_t n) { return n * (dtype == DType::f32 ? 4 : 2); }

struct Product {
  MatmulSpec spec;
  Matmul matmul;
  Memory a, b, c, workspace;
  Product(const MatmulSpec& s, int threads)
      : spec(s),
        matmul(s),
        a(bytes_of(s.a, s.m * s.k)),
        b(bytes_of(s.b, s.n * s.k)),
        c(bytes_of(s.c, s.m * s.n)),
        workspace(matmul.workspace_bytes(threads)) {}
  void run(ThreadPool& pool) const { matmul.run(pool, a, b, c, nullptr, workspace); }
  double flops() const {
    return 2.0 * static_cast<double>(spec.m) * static_cast<double>(spec.n) * static_cast<double>(spec.k);
  }
};

void bench_matmul(benchmark::State& state, MatmulSpec spec) {
  const int threads = static_cast<int>(state.range(0));
  ThreadPool pool(threads);
  const Product product(spec, threads);
  for (auto _ : state) product.run(pool);
  state.counters["flops"] = benchmark::Counter(product.flops(), benchmark::Counter::kIsIterationInvariantRate);
}

std::vector<MatmulSpec> linear_forward_and_back(int64_t out, int64_t in, DType type, bool adapter) {
  std::vector<MatmulSpec> specs;
  specs.push_back({.m = kRows, .n = out, .k = in, .a = type, .b = type, .c = type, .transpose_b = true});
  specs.push_back({.m = kRows, .n = in, .k = out, .a = type, .b = type, .c = type});
  if (!adapter) return specs;
  specs.push_back({.m = kRows, .n = kRank, .k = in, .a = type, .b = type, .c = type, .transpose_b = true});  // t = x Aᵀ
  specs.push_back({.m = kRows,
                   .n = out,
                   .k = kRank,
                   .a = type,
                   .b = type,
                   .c = type,
                   .transpose_b = true,
                   .accumulate = true});                                                 // y += t Bᵀ
  specs.push_back({.m = kRows, .n = kRank, .k = out, .a = type, .b = type, .c = type});  // dt = dy B
  specs.push_back(
      {.m = kRows, .n = in, .k = kRank, .a = type, .b = type, .c = type, .accumulate = true});  // dx += dt A
  specs.push_back(
      {.m = out, .n = kRank, .k = kRows, .a = type, .b = type, .transpose_a = true, .accumulate = true});  // dB
  specs.push_back(
      {.m = kRank, .n = in, .k = kRows, .a = type, .b = type, .transpose_a = true, .accumulate = true});  // dA
  return specs;
}

// Products of all seven linears of a layer, 30 layers, forward and gradient of the input; with or without the
// adapters'.
void bench_step(benchmark::State& state, DType type, bool adapters) {
  const int threads = static_cast<int>(state.range(0));
  ThreadPool pool(threads);
  std::vector<std::unique_ptr<Product>> products;
  double flops = 0;
  const std::pair<int64_t, int64_t> linears[] = {{576, 576},  {192, 576},  {192, 576}, {576, 576},
                                                 {1536, 576}, {1536, 576}, {576, 1536}};
  for (const auto& [out, in] : linears)
    for (const MatmulSpec& spec : linear_forward_and_back(out, in, type, adapters)) {
      products.push_back(std::make_unique<Product>(spec, threads));
      flops += 30 * products.back()->flops();
    }
  for (auto _ : state)
    for (int layer = 0; layer < 30; ++layer)
      for (const auto& product : products) product->run(pool);
  state.counters["flops"] = benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
}

void bench_head(benchmark::State& state, DType type, bool weight_gradient) {
  const int threads = static_cast<int>(state.range(0));
  ThreadPool pool(threads);
  const LinearCrossEntropySpec spec{.rows = kRows,
                                    .width = kWidth,
                                    .vocab = kVocab,
                                    .chunk_rows = state.range(1),
                                    .dtype = type,
                                    .weight = type,
                                    .weight_gradient = weight_gradient};
  const Memory hidden(bytes_of(type, kRows * kWidth)), weight(bytes_of(type, kVocab * kWidth)),
      d_hidden(bytes_of(type, kRows * kWidth));
  const Memory d_weight(weight_gradient ? kVocab * kWidth * 4 : 8),
      workspace(linear_cross_entropy_workspace_bytes(spec, threads));
  std::vector<int32_t> labels(kRows);
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int32_t>(i * 17 % kVocab);
  const float scale = 1.0F / kRows;
  float loss = 0;
  for (auto _ : state)
    linear_cross_entropy(pool, spec,
                         {.hidden = hidden,
                          .weight = weight,
                          .labels = labels.data(),
                          .loss_scale = &scale,
                          .loss_sum = &loss,
                          .d_hidden = d_hidden,
                          .d_weight = weight_gradient ? static_cast<float*>(d_weight) : nullptr},
                         workspace);
  const double flops = 2.0 * kRows * kWidth * kVocab * (weight_gradient ? 3 : 2);
  state.counters["flops"] = benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
}

template <typename Body>
void bench_bytes(benchmark::State& state, int64_t bytes, Body&& body) {
  ThreadPool pool(static_cast<int>(state.range(0)));
  for (auto _ : state) body(pool);
  state.counters["bytes"] = benchmark::Counter(
      static_cast<double>(bytes), benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1024);
}

void bench_rms_norm(benchmark::State& state) {
  const RmsNormSpec spec{.rows = kRows, .width = kWidth, .dtype = DType::bf16, .weight_dtype = DType::bf16};
  const Memory x(kRows * kWidth * 2), y(kRows * kWidth * 2), w(kWidth * 2), rstd(kRows * 4);
  bench_bytes(state, kRows * kWidth * 4, [&](ThreadPool& pool) { rms_norm_forward(pool, spec, x, w, y, rstd); });
}
void bench_rms_norm_backward(benchmark::State& state) {
  const RmsNormSpec spec{.rows = kRows, .width = kWidth, .dtype = DType::bf16, .weight_dtype = DType::bf16};
  const Memory x(kRows * kWidth * 2), dy(kRows * kWidth * 2), dx(kRows * kWidth * 2), w(kWidth * 2), rstd(kRows * 4);
  bench_bytes(state, kRows * kWidth * 8,
              [&](ThreadPool& pool) { rms_norm_backward(pool, spec, dy, x, w, rstd, dx, true, nullptr, nullptr); });
}
void bench_rope(benchmark::State& state) {
  const RopeSpec spec{.rows = kRows, .heads = 9, .head_dim = 64, .rotary_dim = 64, .dtype = DType::bf16};
  const Memory x(kRows * kWidth * 2), cos(kRows * 32 * 4), sin(kRows * 32 * 4);
  bench_bytes(state, kRows * kWidth * 4, [&](ThreadPool& pool) { rope(pool, spec, x, cos, sin, 1, x); });
}
void bench_swiglu(benchmark::State& state) {
  const int64_t n = kRows * kHidden;
  const Memory gate(n * 2), up(n * 2), out(n * 2);
  bench_bytes(state, n * 6,
              [&](ThreadPool& pool) { swiglu_forward(pool, GatedActivation::silu, DType::bf16, n, gate, up, out); });
}
void bench_swiglu_backward(benchmark::State& state) {
  const int64_t n = kRows * kHidden;
  const Memory gate(n * 2), up(n * 2), d(n * 2), d_gate(n * 2), d_up(n * 2);
  bench_bytes(state, n * 10, [&](ThreadPool& pool) {
    swiglu_backward(pool, GatedActivation::silu, DType::bf16, n, d, gate, up, d_gate, d_up);
  });
}
void bench_add(benchmark::State& state) {
  const int64_t n = kRows * kWidth;
  const Memory a(n * 2), b(n * 2);
  bench_bytes(state, n * 6, [&](ThreadPool& pool) { add(pool, DType::bf16, n, a, b, a); });
}
void bench_adamw(benchmark::State& state) {
  const int64_t n = 1 << 24;
  const Memory p(n * 4), g(n * 4), m(n * 4), v(n * 4), copy(n * 2);
  fill_zero(*std::make_unique<ThreadPool>(1), n * 4, v);
  bench_bytes(state, n * 30, [&](ThreadPool& pool) { adamw_step(pool, {.weight_decay = 0.1}, {n, p, g, m, v, copy}); });
}
void bench_grad_norm(benchmark::State& state) {
  const int64_t n = 1 << 24;
  const Memory g(n * 4), workspace(1 << 16);
  const std::span<const float> spans[] = {{static_cast<float*>(g), static_cast<size_t>(n)}};
  bench_bytes(state, n * 4,
              [&](ThreadPool& pool) { benchmark::DoNotOptimize(sum_of_squares(pool, spans, workspace)); });
}
void bench_embedding(benchmark::State& state) {
  const EmbeddingSpec spec{
      .rows = kRows, .vocab = kVocab, .width = kWidth, .dtype = DType::bf16, .weight_dtype = DType::bf16};
  std::vector<int32_t> ids(kRows);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 7919 % kVocab);
  const Memory weight(kVocab * kWidth * 2), out(kRows * kWidth * 2);
  bench_bytes(state, kRows * kWidth * 4,
              [&](ThreadPool& pool) { embedding_forward(pool, spec, ids.data(), weight, out); });
}

std::string name_of(const MatmulSpec& s) {
  return fmt::format("matmul/{}/{}x{}x{}{}{}{}", dtype_name(s.a), s.m, s.n, s.k, s.transpose_a ? "/at" : "",
                     s.transpose_b ? "/bt" : "", s.accumulate ? "/add" : "");
}

template <typename... Arguments>
benchmark::internal::Benchmark* register_bench(const std::string& name, Arguments... arguments) {
  return benchmark::RegisterBenchmark(name.c_str(), arguments...)->UseRealTime()->Unit(benchmark::kMicrosecond);
}

void register_all() {
  for (const DType type : {DType::bf16, DType::f32}) {
    std::vector<MatmulSpec> specs;
    for (const auto& [out, in] : {std::pair<int64_t, int64_t>{576, 576}, {192, 576}, {1536, 576}, {576, 1536}})
      for (const MatmulSpec& spec : linear_forward_and_back(out, in, type, true)) specs.push_back(spec);
    for (const auto& [out, in] : {std::pair<int64_t, int64_t>{576, 576}, {192, 576}, {1536, 576}, {576, 1536}})
      specs.push_back({.m = out, .n = in, .k = kRows, .a = type, .b = type, .transpose_a = true, .accumulate = true});
    specs.push_back({.m = 512, .n = kVocab, .k = kWidth, .a = type, .b = type, .transpose_b = true});
    specs.push_back({.m = 512, .n = kWidth, .k = kVocab, .a = type, .b = type, .c = type});
    specs.push_back(
        {.m = kVocab, .n = kWidth, .k = 512, .a = type, .b = type, .transpose_a = true, .accumulate = true});
    for (const int64_t m : {1, 4})
      specs.push_back({.m = m, .n = kVocab, .k = kWidth, .a = type, .b = type, .transpose_b = true});
    for (const MatmulSpec& spec : specs) register_bench(name_of(spec), bench_matmul, spec)->Arg(1)->Arg(2);
    const std::string suffix = fmt::format("/{}", dtype_name(type));
    register_bench("linears_step" + suffix, bench_step, type, false)->Arg(1)->Arg(2);
    register_bench("lora_step" + suffix, bench_step, type, true)->Arg(1)->Arg(2);
    for (const int64_t chunk : {256, 512, 1024}) {
      register_bench("head_frozen" + suffix, bench_head, type, false)->Args({1, chunk})->Args({2, chunk});
      register_bench("head_trained" + suffix, bench_head, type, true)->Args({1, chunk})->Args({2, chunk});
    }
  }
  const std::pair<const char*, void (*)(benchmark::State&)> small[] = {{"rms_norm", bench_rms_norm},
                                                                       {"rms_norm_backward", bench_rms_norm_backward},
                                                                       {"rope", bench_rope},
                                                                       {"swiglu", bench_swiglu},
                                                                       {"swiglu_backward", bench_swiglu_backward},
                                                                       {"add", bench_add},
                                                                       {"adamw", bench_adamw},
                                                                       {"grad_norm", bench_grad_norm},
                                                                       {"embedding", bench_embedding}};
  for (const auto& [name, body] : small) register_bench(name, body)->Arg(1)->Arg(2);
}

}  // namespace

int main(int argc, char** argv) {
  register_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
