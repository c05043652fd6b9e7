#include "base/figures.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "base/text.h"

namespace plimsoll {

std::string format_number(double value) {
  if (!std::isfinite(value)) return "-";
  const double size = std::abs(value);
  if (size >= 1e15) return format_power(value);
  if (size >= 99.95) return format_thousands(std::llround(value));
  return size >= 1e-4 || size == 0 ? fmt::format("{:.3g}", value) : format_power(value);
}

std::string format_count(double value) {
  for (const auto& [unit, name] : {std::pair{1e12, "T"}, {1e9, "B"}, {1e6, "M"}, {1e3, "k"}})
    if (std::abs(value) >= 0.9995 * unit && std::isfinite(value)) return format_number(value / unit) + " " + name;
  return format_number(value);
}

std::string format_power(double value) {
  if (!std::isfinite(value)) return "-";
  std::string text = fmt::format("{:.2e}", value);  // "1.50e+22"
  const size_t e = text.find('e');
  const std::optional<int64_t> exponent = parse_integer(std::string_view(text).substr(e + 1));
  text.resize(e);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return fmt::format("{}e{}", text, *exponent);
}

std::string format_usd(double usd) {
  if (!std::isfinite(usd)) return "-";
  return std::abs(usd) < 999.995 ? fmt::format("{:.2f}", usd) : format_thousands(std::llround(usd));
}

std::string format_seconds(double seconds) {
  if (!std::isfinite(seconds)) return "-";
  if (seconds < 120) return format_number(seconds) + " s";
  if (seconds < 7200) return format_number(seconds / 60) + " min";
  if (seconds < 96 * 3600) return format_number(seconds / 3600) + " h";
  return format_number(seconds / 86400) + " days";
}

}  // namespace plimsoll
