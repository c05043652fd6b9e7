// Vectors of small codes and of the values they stand for, shared by what unpacks weights. Compiled once per target
// (Highway's foreach_target).
#if defined(PLIMSOLL_CODE_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PLIMSOLL_CODE_LANES_INL_H_
#undef PLIMSOLL_CODE_LANES_INL_H_
#else
#define PLIMSOLL_CODE_LANES_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace plimsoll::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// At most 16 lanes, so that a half block of 16 is whole vectors.
using DF = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<DF>;
using DU = hn::RebindToUnsigned<DF>;
using VF = hn::Vec<DF>;
using VI = hn::Vec<DI>;

HWY_INLINE VI load_bytes(const uint8_t* in) { return hn::PromoteTo(DI(), hn::LoadU(hn::Rebind<uint8_t, DF>(), in)); }
HWY_INLINE VI low_nibbles(VI bytes) { return hn::And(bytes, hn::Set(DI(), 15)); }
HWY_INLINE VI high_nibbles(VI bytes) { return hn::ShiftRight<4>(bytes); }
HWY_INLINE VF to_float(VI codes) { return hn::ConvertTo(DF(), codes); }

// Values of 16 codes, whatever the width of a vector.
struct CodeValues {
  const float* values;
#if HWY_MAX_BYTES >= 32
  VF low, high;
#endif
  explicit CodeValues(const float* from) : values(from) {
#if HWY_MAX_BYTES >= 32
    low = hn::LoadU(DF(), from);
    high = hn::LoadU(DF(), from + (hn::MaxLanes(DF()) >= 16 ? 0 : 8));
#endif
  }
  HWY_INLINE VF operator()(VI codes) const {
#if HWY_MAX_BYTES >= 64
    return hn::TableLookupLanes(low, hn::IndicesFromVec(DF(), codes));
#elif HWY_MAX_BYTES >= 32
    const auto index = hn::IndicesFromVec(DF(), hn::And(codes, hn::Set(DI(), 7)));
    const auto is_high = hn::RebindMask(DF(), hn::Gt(codes, hn::Set(DI(), 7)));
    return hn::IfThenElse(is_high, hn::TableLookupLanes(high, index), hn::TableLookupLanes(low, index));
#else
    HWY_ALIGN int32_t index[16];
    HWY_ALIGN float out[16];
    hn::Store(codes, DI(), index);
    for (size_t i = 0; i < hn::Lanes(DF()); ++i) out[i] = values[index[i]];
    return hn::Load(DF(), out);
#endif
  }
};

}  // namespace plimsoll::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // PLIMSOLL_CODE_LANES_INL_H_
