#include "backend/cpu/simd/instructions.h"

#include <hwy/targets.h>
#include <oneapi/dnnl/dnnl.h>

#if defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace plimsoll::cpu {
namespace {

[[maybe_unused]] bool isa_allows(dnnl_cpu_isa_t isa) {
  const auto wanted = static_cast<unsigned>(isa);
  return (static_cast<unsigned>(dnnl_get_effective_cpu_isa()) & wanted) == wanted;
}

}  // namespace

void limit_highway() {
#if defined(__x86_64__)
  if (!may_use_avx512()) hwy::DisableTargets(HWY_AVX3 | HWY_AVX3_DL);
  if (!may_use_avx2()) hwy::DisableTargets(HWY_AVX3 | HWY_AVX3_DL | HWY_AVX2);
#endif
}

bool may_use_avx2() {
#if defined(__x86_64__)
  return isa_allows(dnnl_cpu_isa_avx2);
#else
  return false;
#endif
}

bool may_use_avx512() {
#if defined(__x86_64__)
  return isa_allows(dnnl_cpu_isa_avx512_core);
#else
  return false;
#endif
}

bool may_use_avx512_bf16() {
#if defined(__x86_64__)
  static const bool may = isa_allows(dnnl_cpu_isa_avx512_core_bf16) && __builtin_cpu_supports("avx512bf16") &&
                          __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  return may;
#else
  return false;
#endif
}

bool may_use_amx() {
#if defined(__x86_64__)
  static const bool may = [] {
    constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
    constexpr int kTileData = 18;               // XFEATURE_XTILEDATA
    return isa_allows(dnnl_cpu_isa_avx512_core_amx) && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }();
  return may;
#else
  return false;
#endif
}

}  // namespace plimsoll::cpu
