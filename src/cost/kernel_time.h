// Seconds of single kernels on one device: the roofline (Williams et al. 2009) with an efficiency that depends on
// shape.
#pragma once

#include <cstdint>

#include "cost/device_catalog.h"
#include "cost/time_constants.h"

namespace plimsoll {

enum class ProductFormat { f32, half, fp8, fp4 };
enum class FlashKind { first = 1, second, third };  // of FlashAttention, or kernels as fast

// A device as kernels see it. Rates are those that the best kernels reach.
struct KernelRates {
  double product[4] = {0, 0, 0, 0};              // flops per second, by ProductFormat
  double flash_forward = 0, flash_backward = 0;  // flops per second
  double stream = 0;                             // bytes per second
  double fixed_seconds = 0;                      // of one kernel
  double exposed_bytes = 0;                      // see TimeConstants::gemm_bytes
  double alignment = 1;                          // see TimeConstants::gemm_alignment
};

// Throws a caller Error where the catalogue lacks what is needed (bandwidth, a peak).
KernelRates kernel_rates(const Device& device, const TimeConstants& constants, FlashKind flash = FlashKind::second);

// (m, k) times (k, n), `count` times. Time grows with the flops, with the bytes of operands and result where those take
// longer, and with a fixed part, so that small products are slow for their size.
double product_seconds(const KernelRates& rates, double m, double n, double k, ProductFormat format, double count = 1);

// Attention of `tokens` queries that each see `keys` keys on average, for `width` = heads · (key_dim + value_dim).
double attention_seconds(const KernelRates& rates, double tokens, double keys, double width, bool backward);

inline double stream_seconds(const KernelRates& rates, double bytes) { return bytes / rates.stream; }

}  // namespace plimsoll
