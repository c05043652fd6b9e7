// Byte sizes as users write and read them. GiB is 2^30, GB is 10^9.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace plimsoll {

inline constexpr int64_t kKiB = int64_t{1} << 10;
inline constexpr int64_t kMiB = int64_t{1} << 20;
inline constexpr int64_t kGiB = int64_t{1} << 30;

// "900MiB", "1.5GiB", "24GB", "4096" → bytes (a fraction is rounded down). Throws a caller Error about `flag`
// otherwise.
int64_t parse_bytes(std::string_view text, std::string_view flag);

std::string format_bytes(int64_t bytes);  // "1.46 GiB", "896 MiB", "12 KiB", "37 B"

inline constexpr int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}
inline constexpr int64_t ceil_div(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }

}  // namespace plimsoll
