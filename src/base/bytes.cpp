#include "base/bytes.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/text.h"

namespace plimsoll {
namespace {

struct Unit {
  std::string_view name;
  int64_t bytes;
};
constexpr std::array<Unit, 10> kUnits = {{{"", 1},
                                          {"B", 1},
                                          {"KiB", kKiB},
                                          {"MiB", kMiB},
                                          {"GiB", kGiB},
                                          {"TiB", kGiB * 1024},
                                          {"kB", 1000},
                                          {"MB", 1'000'000},
                                          {"GB", 1'000'000'000},
                                          {"TB", 1'000'000'000'000}}};

}  // namespace

int64_t parse_bytes(std::string_view text, std::string_view flag) {
  const auto fail = [&] {
    return caller_error(std::string(flag), fmt::format("'{}' is not a size", text),
                        "write it like 900MiB, 2GiB, 24GB, or plain bytes");
  };
  double number = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (status != std::errc{} || !(number >= 0)) throw fail();
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  for (const Unit& candidate : kUnits) {
    if (unit != candidate.name) continue;
    const double bytes = std::floor(number * static_cast<double>(candidate.bytes));
    if (bytes > 9e18) throw fail();
    return static_cast<int64_t>(bytes);
  }
  throw fail();
}

std::string format_bytes(int64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (bytes >= kGiB * 1024) return fmt::format("{:.2f} TiB", value / static_cast<double>(kGiB * 1024));
  if (bytes >= kGiB) return fmt::format("{:.2f} GiB", value / static_cast<double>(kGiB));
  if (bytes >= 10 * kMiB)
    return fmt::format("{} MiB", format_thousands(std::llround(value / static_cast<double>(kMiB))));
  if (bytes >= kMiB) return fmt::format("{:.1f} MiB", value / static_cast<double>(kMiB));
  if (bytes >= kKiB) return fmt::format("{} KiB", format_thousands(std::llround(value / static_cast<double>(kKiB))));
  return fmt::format("{} B", bytes);
}

}  // namespace plimsoll
