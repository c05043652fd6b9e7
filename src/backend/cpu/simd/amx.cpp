#include "backend/cpu/simd/amx.h"

#include <oneapi/dnnl/dnnl.h>

#if defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace plimsoll::cpu {

bool may_use_amx() {
#if defined(__x86_64__)
  static const bool may = [] {
    constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
    constexpr int kTileData = 18;               // XFEATURE_XTILEDATA
    const auto isa = static_cast<unsigned>(dnnl_get_effective_cpu_isa());
    const auto amx = static_cast<unsigned>(dnnl_cpu_isa_avx512_core_amx);
    return (isa & amx) == amx && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }();
  return may;
#else
  return false;
#endif
}

}  // namespace plimsoll::cpu
