#include "backend/cpu/attention/attention.h"

#include <cmath>

#include "backend/cpu/attention/attention_blocks.h"
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
                       const int32_t* segment_ids, const int32_t* segment_start, void* out, float* lse, void* workspace,
                       const void* sinks) {
  check_attention_shape(shape);
  forward_with(attention_kernels(shape.dtype), pool, shape, q, k, v, segment_ids, segment_start, out, lse, workspace,
               sinks);
}

void attention_sink_backward(ThreadPool& pool, const AttentionShape& s, const void* dout, const void* out,
                             const float* lse, const void* sinks, float* d_sinks) {
  const int64_t bytes = s.dtype == DType::bf16 ? 2 : 4;
  const AttentionKernels& kernels = attention_kernels(s.dtype);
  pool.parallel_for(s.heads, [&](int64_t head, int) {
    const float sink = sink_of(s, sinks, head);
    double sum = 0;
    for (int64_t row = 0; row < s.batch * s.q_len; ++row) {
      const int64_t at = (row * s.out_row_stride + head * s.values()) * bytes;
      const float delta =
          kernels.dot(static_cast<const char*>(dout) + at, static_cast<const char*>(out) + at, s.dtype, s.values());
      const float log_sum = lse[(row / s.q_len * s.heads + head) * s.q_len + row % s.q_len];
      if (delta != 0.0F) sum -= static_cast<double>(std::exp(sink - log_sum) * delta);
    }
    d_sinks[head] += static_cast<float>(sum);
  });
}

void attention_backward(ThreadPool& pool, const AttentionShape& shape, const void* dout, const void* q, const void* k,
                        const void* v, const void* out, const float* lse, const int32_t* segment_ids,
                        const int32_t* segment_start, void* dq, void* dk, void* dv, void* workspace) {
  check_attention_shape(shape);
  backward_with(attention_kernels(shape.dtype), pool, shape, dout, q, k, v, out, lse, segment_ids, segment_start, dq,
                dk, dv, workspace);
}

}  // namespace plimsoll::cpu
