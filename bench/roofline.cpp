// What this machine can do at most: matrix products in bf16 and f32 through oneDNN, and reads from memory.
//
// usage: roofline [THREADS]        one JSON document: flops and bytes per second, the best of several rounds
//
// Every thread computes products of its own with a single-threaded oneDNN, so that a neighbour on one core slows only
// that core, and no barrier of a parallel library is measured. The size is one at which oneDNN reaches its peak in
// cache.
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

#include "dnnl.hpp"

namespace {

constexpr int kRounds = 5;
constexpr int64_t kSide = 1024;          // rows, columns and depth of a product
constexpr int kProducts = 8;             // of one thread in a round
constexpr int64_t kReadBytes = 1 << 28;  // of one thread in a round, more than any cache holds

// Runs `work(thread)` on every thread at the same moment; returns the fastest round's seconds. `prepare` is not timed.
double best_seconds(int threads, const std::function<std::function<void()>(int)>& prepare) {
  std::vector<double> started(static_cast<size_t>(threads)), ended(static_cast<size_t>(threads));
  double best = 1e30;
  std::barrier ready(threads), done(threads);
  const auto now = [] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  };
  std::vector<std::thread> pool;
  for (int t = 0; t < threads; ++t)
    pool.emplace_back([&, t] {
      omp_set_num_threads(1);
      const auto work = prepare(t);
      work();  // warm: pages, generated code, clocks
      for (int round = 0; round < kRounds; ++round) {
        ready.arrive_and_wait();
        started[static_cast<size_t>(t)] = now();
        work();
        ended[static_cast<size_t>(t)] = now();
        done.arrive_and_wait();
        if (t == 0)
          best = std::min(
              best, *std::max_element(ended.begin(), ended.end()) - *std::min_element(started.begin(), started.end()));
      }
    });
  for (std::thread& thread : pool) thread.join();
  return best;
}

std::function<void()> products(dnnl::memory::data_type type) {
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  const dnnl::memory::desc desc({kSide, kSide}, type, dnnl::memory::format_tag::ab);
  const dnnl::matmul::primitive_desc primitive({desc, desc, desc}, engine);
  dnnl::memory a(desc, engine), b(desc, engine), c(desc, engine);
  for (const dnnl::memory& m : {a, b}) {  // 1.0 in either type, when read as pairs of bf16
    auto* words = static_cast<uint16_t*>(m.get_data_handle());
    std::fill(words, words + desc.get_size() / 2, uint16_t{0x3F80});
  }
  return [=, matmul = dnnl::matmul(primitive)]() mutable {
    dnnl::stream stream(engine);
    for (int i = 0; i < kProducts; ++i)
      matmul.execute(stream, {{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, c}});
    stream.wait();
  };
}

std::function<void()> reads(std::atomic<uint64_t>& sink) {
  return [&sink, words = std::vector<uint64_t>(kReadBytes / 8, 1)] {
    uint64_t sums[8] = {};
    for (size_t i = 0; i < words.size(); i += 8)
      for (size_t j = 0; j < 8; ++j) sums[j] += words[i + j];
    for (const uint64_t sum : sums) sink += sum;
  };
}

double flops_per_second(int threads, dnnl::memory::data_type type) {
  const double flops = 2.0 * kSide * kSide * kSide * kProducts * threads;
  return flops / best_seconds(threads, [type](int) { return products(type); });
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : static_cast<int>(std::thread::hardware_concurrency());
  if (threads < 1 || threads > 4096) {
    std::fprintf(stderr, "usage: roofline [THREADS]\n");
    return 2;
  }
  std::atomic<uint64_t> sink = 0;
  const double bf16 = flops_per_second(threads, dnnl::memory::data_type::bf16);
  const double f32 = flops_per_second(threads, dnnl::memory::data_type::f32);
  const double seconds = best_seconds(threads, [&sink](int) { return reads(sink); });
  const double bytes = static_cast<double>(kReadBytes) * threads;
  std::printf(
      "{\"threads\": %d, \"bf16_flops_per_second\": %.4g, \"f32_flops_per_second\": %.4g, \"read_bytes_per_second\": "
      "%.4g}\n",
      threads, bf16, f32, bytes / seconds);
  return sink == 0 ? 1 : 0;
}
