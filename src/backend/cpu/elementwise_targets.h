// Include first in every file that uses Highway's dynamic dispatch: SSE2 (the x86-64 baseline), AVX2 and AVX-512 are
// enough for kernels that live on memory bandwidth; more targets only cost compile time and code bytes.
#pragma once

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
