// What this process may use of the CPU: oneDNN's view counts for our own kernels, too, so that its environment variable
// ONEDNN_MAX_CPU_ISA (https://oneapi-src.github.io/oneDNN/dev_guide_cpu_dispatcher_control.html) limits all of us.
#pragma once

namespace plimsoll::cpu {

// Takes from Highway what the variable forbids (AVX-512, AVX2). Before the first kernel; cpu_backend() calls it.
void limit_highway();

bool may_use_avx2();
bool may_use_avx512();

// Products of pairs of bf16 in 512-bit vectors (AVX512-BF16), with the byte and short vectors around them.
bool may_use_avx512_bf16();

// Intel AMX. The kernel gives a process the tile registers on request only: the first call asks.
bool may_use_amx();

}  // namespace plimsoll::cpu
