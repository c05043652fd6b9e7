// The ways to compute a Matmul, one file each; matmul.cpp chooses. Internal to the backend.
#pragma once

#include <cstddef>
#include <memory>

#include "backend/cpu/matmul/matmul.h"
#include "quant/packed_matrix.h"

namespace plimsoll::cpu {

struct MatmulOperands {
  const void* a;
  const void* b;
  void* c;
  const void* bias;
  std::byte* workspace;
  void (*consume)(void* context, const MatmulTile& tile) = nullptr;  // of a consumed product
  void* context = nullptr;
};

struct Matmul::Kernel {
  explicit Kernel(const MatmulSpec& dense_spec) : spec(dense_spec) {}
  virtual ~Kernel() = default;
  virtual int64_t workspace_bytes(int threads) const = 0;
  virtual void run(ThreadPool& pool, const MatmulOperands& operands) const = 0;
  // Matmul::run_part; a kernel of fixed shapes computes everything.
  virtual void run_part(ThreadPool& pool, const MatmulOperands& operands, int64_t /*m*/, int64_t /*k*/) const {
    run(pool, operands);
  }

  virtual bool takes_parts() const { return false; }

  virtual int64_t column_tiles() const { return 1; }

  const MatmulSpec spec;  // lda, ldb, ldc filled in
};

// m of 1 to kMaxSkinnyRows and weights (n,k): a pass over the weights at the speed of memory. No workspace.
inline constexpr int64_t kMaxSkinnyRows = 4;
std::shared_ptr<const Matmul::Kernel> make_skinny_matmul(const MatmulSpec& spec);

// bf16 on Intel AMX tiles; null where the CPU has none or the types are others.
std::shared_ptr<const Matmul::Kernel> make_amx_matmul(const MatmulSpec& spec);

// oneDNN on tiles. For types it has no primitive for on this CPU, tiles are converted to f32 in the workspace.
std::shared_ptr<const Matmul::Kernel> make_onednn_matmul(const MatmulSpec& spec);

// Writes one finished f32 tile to C: c {=,+=} alpha · tile + bias. tile (rows, columns) with `stride` elements between
// rows, for C's rows from `row` and columns from `column`.
void store_matmul_tile(const MatmulSpec& spec, const float* tile, int64_t stride, int64_t row, int64_t column,
                       int64_t rows, int64_t columns, const MatmulOperands& operands);

// (rows, columns) with `stride` elements between rows → dense f32 (rows, columns).
void widen_matmul_tile(const float* from, int64_t stride, int64_t rows, int64_t columns, float* to);
void widen_matmul_tile(const uint16_t* from, int64_t stride, int64_t rows, int64_t columns, float* to);

// B of a spec with a packed one.
inline PackedMatrix packed_b(const MatmulSpec& spec, const void* b) {
  return {spec.b, spec.transpose_b ? spec.n : spec.k, spec.transpose_b ? spec.k : spec.n,
          static_cast<const std::byte*>(b)};
}

inline int64_t element_bytes(DType dtype) { return dtype == DType::f32 ? 4 : 2; }

}  // namespace plimsoll::cpu
