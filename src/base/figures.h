// Figures as people read them, in every command the same way. What is not finite is "-".
#pragma once

#include <string>

namespace plimsoll {

// Three digits that count, whole numbers in full: "0.305", "52.6", "1,320", "144,487"; "1.2e-5" below a ten-thousandth.
std::string format_number(double value);
std::string format_count(double value);  // of tokens or parameters: "950", "8.03 B", "1.01 T" (thousands: "k")
std::string format_power(double value);  // of flops, as it is typed: "1e22", "1.05e22"
std::string format_usd(double usd);      // "0.26", "51.20", "1,234"
// Of work: "0.834 s", "25.3 min", "71.5 h", "12.3 days", each to a size that the next says better.
std::string format_seconds(double seconds);

}  // namespace plimsoll
