// The machine's own matmul rate, measured beside a run: what model FLOP utilisation is counted against.
#pragma once

#include "base/dtype.h"

namespace plimsoll {

// Best of a few products of 1024 cubed in `dtype` (f32 or bf16) with so many threads, flop/s. About 30 ms, and
// 10 MiB that are given back.
double measure_matmul_peak(int threads, DType dtype);

}  // namespace plimsoll
