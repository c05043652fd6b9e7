// Include first in every file that uses Highway's dynamic dispatch: AVX2 and AVX-512 beside the baseline
// (scalar in Highway 1.0 on x86-64) are enough for kernels that live on memory bandwidth; more only cost code bytes.
#pragma once

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
