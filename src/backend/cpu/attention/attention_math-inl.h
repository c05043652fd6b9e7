// Vector helpers of the attention kernels, once per Highway target.
#if defined(PLIMSOLL_ATTENTION_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PLIMSOLL_ATTENTION_MATH_INL_H_
#undef PLIMSOLL_ATTENTION_MATH_INL_H_
#else
#define PLIMSOLL_ATTENTION_MATH_INL_H_
#endif

#include <hwy/highway.h>

#include "backend/cpu/attention/attention_kernels.h"

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// At most 16 lanes, so that a panel of 32 columns is always a whole number of vectors.
using DF = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<DF>;
using DU16 = hn::Rebind<uint16_t, DF>;
using VF = hn::Vec<DF>;

HWY_INLINE VF load_bf16(const uint16_t* from) {
  const hn::RebindToUnsigned<DF> du;
  return hn::BitCast(DF(), hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(DU16(), from))));
}

// 2^x for x <= about 0; below 2^-126 it stays at 2^-126. Relative error about 1e-7.
HWY_INLINE VF exp2(VF x) {
  const DF df;
  const DI di;
  const VF magic = hn::Set(df, 12582912.0F);  // 1.5 * 2^23: the integer lands in the low bits
  x = hn::Max(x, hn::Set(df, -126.0F));
  const VF shifted = hn::Add(x, magic);
  const VF r = hn::Sub(x, hn::Sub(shifted, magic));
  VF y = hn::Set(df, 0.000154614447F);
  y = hn::MulAdd(y, r, hn::Set(df, 0.001340042818F));
  y = hn::MulAdd(y, r, hn::Set(df, 0.009618056679F));
  y = hn::MulAdd(y, r, hn::Set(df, 0.05550327227F));
  y = hn::MulAdd(y, r, hn::Set(df, 0.2402265092F));
  y = hn::MulAdd(y, r, hn::Set(df, 0.6931472067F));
  y = hn::MulAdd(y, r, hn::Set(df, 1.0F));
  return hn::BitCast(df, hn::Add(hn::BitCast(di, y), hn::ShiftLeft<23>(hn::BitCast(di, shifted))));
}

// tanh by a series near 0 (where the quotient would cancel) and by exponentials elsewhere.
HWY_INLINE VF tanh(VF x) {
  const DF df;
  const VF size = hn::Abs(x), squared = hn::Mul(x, x);
  VF series = hn::Set(df, 0.021869488F);  // 62/2835
  series = hn::MulAdd(series, squared, hn::Set(df, -0.053968254F));
  series = hn::MulAdd(series, squared, hn::Set(df, 0.133333333F));
  series = hn::MulAdd(series, squared, hn::Set(df, -0.333333333F));
  series = hn::MulAdd(hn::Mul(series, squared), x, x);
  const VF decay = exp2(hn::Mul(size, hn::Set(df, -2.0F * kLog2E)));
  const VF one = hn::Set(df, 1.0F);
  const VF quotient = hn::CopySign(hn::Div(hn::Sub(one, decay), hn::Add(one, decay)), x);
  return hn::IfThenElse(hn::Lt(size, hn::Set(df, 0.2F)), series, quotient);
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // PLIMSOLL_ATTENTION_MATH_INL_H_
