// Rates of one machine's processor, fitted by `plimsoll calibrate`: the seconds of an op by its flops and bytes.
#pragma once

#include <array>
#include <string>

#include "ops/op_def.h"

namespace plimsoll {

// Of one kind of op. Weights have a rate of their own: each product lays them out for the processor's tiles, which
// takes as long for few tokens as for many.
struct OpRate {
  double seconds_per_flop = 0, seconds_per_byte = 0, seconds_per_weight_byte = 0, seconds_per_call = 0;
  bool known = false;
  double seconds(const OpCost& cost) const {
    return cost.flops * seconds_per_flop +
           static_cast<double>(cost.bytes_accessed - cost.weight_bytes) * seconds_per_byte +
           static_cast<double>(cost.weight_bytes) * seconds_per_weight_byte + seconds_per_call;
  }
};

struct OpRates {
  std::array<OpRate, kOpKindCount> rates{};
  int threads = 0;
  double took_seconds = 0;  // to fit them
  double waited_share = 0;  // of the time in which it could have run: others had the processors
};

// The JSON of `plimsoll calibrate`, there and back. Throws a caller Error that names `source`.
std::string op_rates_json(const OpRates& rates);
OpRates parse_op_rates(const std::string& json, const std::string& source);

}  // namespace plimsoll
