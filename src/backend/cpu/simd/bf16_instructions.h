// The CPU's products of bf16, as far as this process may use them: oneDNN's view counts, too, so that its environment
// variable ONEDNN_MAX_CPU_ISA limits us.
#pragma once

namespace plimsoll::cpu {

// Pairs of bf16 in 512-bit vectors (AVX512-BF16), with the byte and short vectors around them.
bool may_use_avx512_bf16();

// Intel AMX. The kernel gives a process the tile registers on request only: the first call asks.
bool may_use_amx();

}  // namespace plimsoll::cpu
