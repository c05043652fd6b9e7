#include "backend/cpu/matmul/matmul.h"

#include <mutex>
#include <vector>

#include "backend/cpu/matmul/matmul_kernel.h"
#include "base/error.h"

namespace plimsoll::cpu {
namespace {

MatmulSpec with_strides(MatmulSpec spec) {
  const auto known = [](DType d) { return d == DType::f32 || d == DType::bf16; };
  PLIMSOLL_CHECK(spec.m >= 0 && spec.n >= 0 && spec.k >= 0, "negative size");
  PLIMSOLL_CHECK((spec.a == spec.b || is_packed(spec.b)) && known(spec.a) && known(spec.c) && known(spec.bias),
                 "operands are both f32 or both bf16, or b is packed");
  PLIMSOLL_CHECK(!is_packed(spec.b) || spec.ldb == 0, "a packed matrix is dense");
  const auto fill = [](int64_t& stride, int64_t dense) {
    if (stride == 0) stride = dense;
    PLIMSOLL_CHECK(stride >= dense, "rows overlap");
  };
  fill(spec.lda, spec.transpose_a ? spec.m : spec.k);
  fill(spec.ldb, spec.transpose_b ? spec.k : spec.n);
  fill(spec.ldc, spec.n);
  PLIMSOLL_CHECK(!spec.consumed || (spec.c == DType::f32 && !spec.accumulate && spec.alpha == 1 && !spec.has_bias &&
                                    spec.m * spec.n * spec.k > 0),
                 "a consumed product is plain");
  return spec;
}

std::shared_ptr<const Matmul::Kernel> make_kernel(const MatmulSpec& spec) {
  if (!spec.consumed && spec.m <= kMaxSkinnyRows && spec.transpose_b && !spec.transpose_a)
    return make_skinny_matmul(spec);
  if (auto kernel = make_amx_matmul(spec)) return kernel;
  return make_onednn_matmul(spec);
}

// Kernels by spec. A model has a few dozen distinct products per phase; beyond the bound the oldest is forgotten (and
// lives on in the Matmuls that hold it).
struct KernelCache {
  static constexpr size_t kMaxKernels = 1024;
  std::mutex mutex;
  std::vector<std::shared_ptr<const Matmul::Kernel>> kernels;
  size_t next = 0;

  std::shared_ptr<const Matmul::Kernel> get(const MatmulSpec& spec) {
    const std::lock_guard lock(mutex);
    for (const auto& kernel : kernels)
      if (kernel->spec == spec) return kernel;
    auto kernel = make_kernel(spec);
    if (kernels.size() < kMaxKernels) {
      kernels.push_back(kernel);
    } else {
      kernels[next] = kernel;
      next = (next + 1) % kMaxKernels;
    }
    return kernel;
  }
};

KernelCache& cache() {
  static KernelCache kernels;
  return kernels;
}

}  // namespace

int64_t matmul_workspace_bytes(const MatmulSpec& spec, int threads) {
  return cache().get(with_strides(spec))->workspace_bytes(threads);
}

Matmul::Matmul(const MatmulSpec& spec) : kernel_(cache().get(with_strides(spec))) {}
Matmul::~Matmul() = default;
Matmul::Matmul(Matmul&&) noexcept = default;
Matmul& Matmul::operator=(Matmul&&) noexcept = default;

const MatmulSpec& Matmul::spec() const { return kernel_->spec; }
int64_t Matmul::workspace_bytes(int threads) const { return kernel_->workspace_bytes(threads); }

void Matmul::run(ThreadPool& pool, const void* a, const void* b, void* c, const void* bias, void* workspace) const {
  PLIMSOLL_CHECK(!kernel_->spec.has_bias || bias != nullptr, "a bias was promised");
  if (kernel_->spec.m == 0 || kernel_->spec.n == 0) return;
  kernel_->run(pool, {a, b, c, bias, static_cast<std::byte*>(workspace)});
}

void Matmul::run_part(ThreadPool& pool, int64_t m, int64_t k, const void* a, const void* b, void* c,
                      void* workspace) const {
  PLIMSOLL_CHECK(!kernel_->spec.has_bias && m <= kernel_->spec.m && k <= kernel_->spec.k,
                 "a part of the product, without bias");
  if (m == 0 || k == 0 || kernel_->spec.n == 0) return;
  kernel_->run_part(pool, {a, b, c, nullptr, static_cast<std::byte*>(workspace)}, m, k);
}

void Matmul::run_tiles(ThreadPool& pool, int64_t m, const void* a, const void* b, void* workspace,
                       void (*consume)(void*, const MatmulTile&), void* context) const {
  PLIMSOLL_CHECK(kernel_->spec.consumed && m <= kernel_->spec.m, "a product that is planned to be consumed");
  if (m == 0) return;
  kernel_->run_part(pool, {a, b, nullptr, nullptr, static_cast<std::byte*>(workspace), consume, context}, m,
                    kernel_->spec.k);
}

bool Matmul::takes_parts() const { return kernel_->takes_parts(); }

int64_t Matmul::column_tiles() const { return kernel_->column_tiles(); }

}  // namespace plimsoll::cpu
