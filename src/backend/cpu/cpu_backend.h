// The CPU engine: its kernel for each op of the program, and the scratch each needs. Kernels proper know nothing of the
// program; the adapters in cpu_backend_*.cpp read operands and attributes and call them.
#pragma once

#include "runtime/executor.h"

namespace plimsoll {

// Constant for the process. Kernels throw internal Errors for what the verifier should have caught.
const Backend& cpu_backend();

// How fast a thread multiplies large matrices in `compute` on CPUs with the instructions of this one: an assumption of
// plans that nobody measured for.
struct CpuSpeed {
  const char* instructions;  // "amx", "avx512-bf16", "avx512", "avx2", "sse"
  double flops_per_second;
};
CpuSpeed cpu_speed(DType compute);

// Makes every library primitive that `plan` will use, so that running it creates nothing.
void prepare_cpu(const ExecutionPlan& plan);

}  // namespace plimsoll
