#include "backend/cpu/attention.h"

#include "backend/cpu/attention_blocks.h"
#include "base/error.h"

namespace plimsoll::cpu {

const AttentionKernels& attention_kernels(DType dtype) {
  if (dtype == DType::bf16) {
    if (const AttentionKernels* amx = bf16_amx_attention_kernels()) return *amx;
    if (const AttentionKernels* dot = bf16_dot_attention_kernels()) return *dot;
  }
  return f32_attention_kernels();
}

int64_t attention_workspace_bytes(const AttentionShape& shape, bool backward, int threads) {
  check_attention_shape(shape);
  const AttentionKernels& kernels = attention_kernels(shape.dtype);
  return backward ? backward_workspace_bytes(shape, kernels, threads)
                  : forward_workspace_bytes(shape, kernels, threads);
}

void attention_forward(ThreadPool& pool, const AttentionShape& shape, const void* q, const void* k, const void* v,
                       const int32_t* segment_ids, const int32_t* segment_start, void* out, float* lse,
                       void* workspace) {
  check_attention_shape(shape);
  forward_with(attention_kernels(shape.dtype), pool, shape, q, k, v, segment_ids, segment_start, out, lse, workspace);
}

void attention_backward(ThreadPool& pool, const AttentionShape& shape, const void* dout, const void* q, const void* k,
                        const void* v, const void* out, const float* lse, const int32_t* segment_ids,
                        const int32_t* segment_start, void* dq, void* dk, void* dv, void* workspace) {
  check_attention_shape(shape);
  backward_with(attention_kernels(shape.dtype), pool, shape, dout, q, k, v, out, lse, segment_ids, segment_start, dq,
                dk, dv, workspace);
}

}  // namespace plimsoll::cpu
