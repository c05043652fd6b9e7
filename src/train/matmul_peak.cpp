#include "train/matmul_peak.h"

#include <algorithm>
#include <chrono>

#include "backend/cpu/matmul/matmul.h"
#include "base/bytes.h"
#include "base/thread_pool.h"
#include "runtime/executor.h"

namespace plimsoll {

double measure_matmul_peak(int threads, DType dtype) {
  ThreadPool pool(threads);
  constexpr int64_t kSize = 1024;
  constexpr int kRounds = 6;
  cpu::MatmulSpec spec;
  spec.m = spec.n = spec.k = kSize;
  spec.a = spec.b = spec.c = dtype;
  spec.transpose_b = true;
  const cpu::Matmul matmul(spec);
  const int64_t matrix = round_up(dtype_bytes(dtype, kSize * kSize), 64);
  const Arena arena(3 * matrix + matmul.workspace_bytes(pool.threads()));
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    matmul.run(pool, arena.data(), arena.data() + matrix, arena.data() + 2 * matrix, nullptr,
               arena.data() + 3 * matrix);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, 2.0 * kSize * kSize * kSize / seconds);
  }
  return best;
}

}  // namespace plimsoll
