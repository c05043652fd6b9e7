// C (m,n) {=,+=} alpha · op(A) · op(B) [+ bias], row-major, f32 or bf16 operands, f32 accumulation.
//
// The work is cut into tiles by shape only; free threads take tiles, and each is a short single-threaded computation, so a
// busy neighbour on one core delays one tile and no more, and the result is the same bits for any thread count.
#pragma once

#include <cstdint>
#include <memory>

#include "base/dtype.h"
#include "base/thread_pool.h"

namespace plimsoll::cpu {

struct MatmulSpec {
  int64_t m = 0, n = 0, k = 0;
  DType a = DType::f32, b = DType::f32;  // the same: f32 or bf16
  DType c = DType::f32;                  // f32 or bf16
  bool transpose_a = false;              // A is stored (k,m), else (m,k)
  bool transpose_b = false;              // B is stored (n,k), else (k,n)
  bool accumulate = false;               // C += instead of C =
  float alpha = 1;                       // scales the product, not the bias
  bool has_bias = false;                 // (n)
  DType bias = DType::f32;               // f32 or bf16
  int64_t lda = 0, ldb = 0, ldc = 0;     // elements between stored rows; 0: dense

  bool operator==(const MatmulSpec&) const = default;
};

// Bytes of workspace that run() needs with a pool of `threads`; a multiple of 64.
int64_t matmul_workspace_bytes(const MatmulSpec& spec, int threads);

// Everything a product needs that is not an operand, made once (up to a few ms) and shared by equal specs.
class Matmul {
 public:
  explicit Matmul(const MatmulSpec& spec);
  ~Matmul();
  Matmul(Matmul&&) noexcept;
  Matmul& operator=(Matmul&&) noexcept;

  const MatmulSpec& spec() const;
  // bias: null unless has_bias. workspace: matmul_workspace_bytes(spec, pool.threads()), aligned to 64. Operands must not
  // overlap C. Not two runs of one thread pool at a time; different pools may run one Matmul at once.
  void run(ThreadPool& pool, const void* a, const void* b, void* c, const void* bias, void* workspace) const;
  // Only the first m rows and the first k terms are wanted; the rest of the operands is there and zero. Rows of C from m on
  // hold nothing of use afterwards.
  void run_part(ThreadPool& pool, int64_t m, int64_t k, const void* a, const void* b, void* c, void* workspace) const;
  int64_t workspace_bytes(int threads) const;

  struct Kernel;  // one way to compute it; matmul_kernel.h

 private:
  std::shared_ptr<const Kernel> kernel_;
};

inline Matmul prepare_matmul(const MatmulSpec& spec) { return Matmul(spec); }

}  // namespace plimsoll::cpu
