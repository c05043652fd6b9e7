// C (m,n) {=,+=} alpha · op(A) · op(B) [+ bias], row-major, f32 or bf16 operands, f32 accumulation.
//
// B may be packed (quant/packed_matrix.h): it is unpacked a panel or a tile at a time in the workspace, to A's type, so
// the result is that of the unpacked matrix and no full copy of it exists.
//
// The work is cut into tiles by shape only; free threads take tiles, and each is a short single-threaded computation,
// so a busy neighbour on one core delays one tile and no more, and the result is the same bits for any thread count.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

#include "base/dtype.h"
#include "base/thread_pool.h"

namespace plimsoll::cpu {

struct MatmulSpec {
  int64_t m = 0, n = 0, k = 0;
  DType a = DType::f32, b = DType::f32;  // the same, f32 or bf16; or b packed
  DType c = DType::f32;                  // f32 or bf16
  bool transpose_a = false;              // A is stored (k,m), else (m,k)
  bool transpose_b = false;              // B is stored (n,k), else (k,n)
  bool accumulate = false;               // C += instead of C =
  float alpha = 1;                       // scales the product, not the bias
  bool has_bias = false;                 // (n)
  DType bias = DType::f32;               // f32 or bf16
  int64_t lda = 0, ldb = 0, ldc = 0;     // elements between stored rows; 0: dense, as a packed b is
  bool consumed = false;                 // for run_tiles: C is never stored; c is f32, no accumulate, alpha or bias

  bool operator==(const MatmulSpec&) const = default;
};

// Bytes of workspace that run() needs with a pool of `threads`; a multiple of 64.
int64_t matmul_workspace_bytes(const MatmulSpec& spec, int threads);

// A finished part of a consumed product: (rows, columns) of C from (row, column), `stride` elements between rows. The
// consumer may write over it.
struct MatmulTile {
  float* values;
  int64_t stride, row, column, rows, columns;
  int64_t column_tile;  // tiles of equal columns have equal numbers, below column_tiles()
};

// Everything a product needs that is not an operand, made once (up to a few ms) and shared by equal specs.
class Matmul {
 public:
  explicit Matmul(const MatmulSpec& spec);
  ~Matmul();
  Matmul(Matmul&&) noexcept;
  Matmul& operator=(Matmul&&) noexcept;

  const MatmulSpec& spec() const;
  // bias: null unless has_bias. workspace: matmul_workspace_bytes(spec, pool.threads()), aligned to 64. Operands must
  // not overlap C. Not two runs of one thread pool at a time; different pools may run one Matmul at once.
  void run(ThreadPool& pool, const void* a, const void* b, void* c, const void* bias, void* workspace) const;
  // Only the first m rows and the first k terms are wanted; the rest of the operands is there and zero. Rows of C from
  // m on hold nothing of use afterwards.
  void run_part(ThreadPool& pool, int64_t m, int64_t k, const void* a, const void* b, void* c, void* workspace) const;
  // Whether run_part needs no zeros: it reads nothing of the operands beyond m rows and k terms, and leaves the rows of
  // C from m on as they are.
  bool takes_parts() const;
  // For a `consumed` spec: calls consume(tile) for parts that cover the first m rows of C once (and maybe rows after
  // them), from any thread, while they are in that thread's cache.
  template <typename Consume>
  void run_tiles(ThreadPool& pool, int64_t m, const void* a, const void* b, void* workspace, Consume&& consume) const {
    using Plain = std::remove_reference_t<Consume>;
    run_tiles(
        pool, m, a, b, workspace, [](void* context, const MatmulTile& tile) { (*static_cast<Plain*>(context))(tile); },
        &consume);
  }
  int64_t column_tiles() const;
  int64_t workspace_bytes(int threads) const;

  struct Kernel;  // one way to compute it; matmul_kernel.h

 private:
  void run_tiles(ThreadPool& pool, int64_t m, const void* a, const void* b, void* workspace,
                 void (*consume)(void*, const MatmulTile&), void* context) const;
  std::shared_ptr<const Kernel> kernel_;
};

inline Matmul prepare_matmul(const MatmulSpec& spec) { return Matmul(spec); }

}  // namespace plimsoll::cpu
