#include "cost/kernel_time.h"

#include <algorithm>

#include "base/error.h"

namespace plimsoll {
namespace {

// Where nobody measured a device's best product: the share of the peak that the A100 reaches (MAMF,
// catalog/devices.csv).
constexpr double kUsualShareOfPeak = 0.87;

// Where nobody measured its attention: the share of the best product that FlashAttention-2 reaches on an A100, and the
// speed of its backward pass beside the forward one there (arXiv:2307.08691: 230 and 196 TFLOPS).
// The first FlashAttention takes twice the time of the second (ibid.).
constexpr double kFirstFlash = 0.5;
constexpr double kUsualFlashShare = 0.85, kFlashBackward = 0.85;

// Rows of 128 bytes are what tensor cores are fed with; cuBLAS says so of 16-bit products on every device since the
// A100 (docs.nvidia.com, "Matrix Multiplication Background", section 3). Each halving of the alignment costs a share.
constexpr int64_t kAlignedElements = 64;

double aligned_share(const KernelRates& rates, double n, double k) {
  double share = 1;
  int64_t alignment = kAlignedElements;
  for (const double size : {n, k})
    while (alignment > 1 && static_cast<int64_t>(size) % alignment != 0) alignment /= 2;
  for (; alignment < kAlignedElements; alignment *= 2) share *= rates.alignment;
  return share;
}

double best_product(double peak, double achieved) { return achieved > 0 ? achieved : kUsualShareOfPeak * peak; }

}  // namespace

KernelRates kernel_rates(const Device& device, const TimeConstants& constants, FlashKind flash) {
  if (device.bandwidth <= 0 || (device.half_peak() <= 0 && device.fp32 <= 0))
    throw caller_error(device.name, "the catalogue has no bandwidth or no peak for it",
                       "add both to a devices.csv of your own and give it with --catalog");
  KernelRates rates;
  const double half = best_product(device.half_peak() > 0 ? device.half_peak() : device.fp32, device.achieved_bf16);
  // What a run of many products keeps up, beside one product alone.
  const double kept =
      device.sustained_bf16 > 0 ? std::min(1.0, device.sustained_bf16 / half) : constants.gemm_efficiency;
  rates.product[static_cast<int>(ProductFormat::f32)] =
      kept * std::max(device.tf32 > 0 ? kUsualShareOfPeak * device.tf32 : 0, kUsualShareOfPeak * device.fp32);
  rates.product[static_cast<int>(ProductFormat::half)] = kept * half;
  const double eight = device.fp8 > 0 ? best_product(device.fp8, device.achieved_fp8) : half;
  rates.product[static_cast<int>(ProductFormat::fp8)] = kept * eight;
  const double four = device.fp4 > 0 ? kUsualShareOfPeak * device.fp4 : eight;
  rates.product[static_cast<int>(ProductFormat::fp4)] = kept * four;
  const double measured = flash == FlashKind::third && device.flash3 > 0 ? device.flash3 : device.flash2;
  rates.flash_forward = constants.attention_efficiency * (measured > 0 ? measured : kUsualFlashShare * half);
  if (flash == FlashKind::first) rates.flash_forward *= kFirstFlash;
  rates.flash_backward = kFlashBackward * rates.flash_forward;
  rates.stream = constants.stream_efficiency * device.bandwidth;
  rates.fixed_seconds = constants.gemm_seconds;
  rates.exposed_bytes = constants.gemm_bytes;
  rates.alignment = constants.gemm_alignment;
  return rates;
}

double product_seconds(const KernelRates& rates, double m, double n, double k, ProductFormat format, double count) {
  const double flops = 2 * m * n * k;
  const double element = format == ProductFormat::f32 ? 4 : format == ProductFormat::half ? 2 : 1;
  const double bytes = element * (m * k + k * n) + 2 * m * n;
  const double rate = rates.product[static_cast<int>(format)] * aligned_share(rates, n, k);
  const double computing = flops / rate, moving = bytes / rates.stream;
  return count *
         (std::max(computing, moving) + rates.exposed_bytes * std::min(computing, moving) + rates.fixed_seconds);
}

double attention_seconds(const KernelRates& rates, double tokens, double keys, double width, bool backward) {
  const double forward_flops = 2 * tokens * keys * width;
  return backward ? 2.5 * forward_flops / rates.flash_backward : forward_flops / rates.flash_forward;
}

}  // namespace plimsoll
