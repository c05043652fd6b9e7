#include "cost/time_constants.h"

#include <fmt/format.h>

#include <array>
#include <cstdlib>

#include "base/csv.h"
#include "base/error.h"
#include "base/text.h"
#include "cost/catalog_text.h"

namespace plimsoll {
namespace {

struct Field {
  std::string_view name;
  double TimeConstants::*value;
};
constexpr std::array kFields = {
    Field{"gemm_efficiency", &TimeConstants::gemm_efficiency},
    Field{"gemm_bytes", &TimeConstants::gemm_bytes},
    Field{"gemm_alignment", &TimeConstants::gemm_alignment},
    Field{"gemm_seconds", &TimeConstants::gemm_seconds},
    Field{"attention_efficiency", &TimeConstants::attention_efficiency},
    Field{"stream_efficiency", &TimeConstants::stream_efficiency},
    Field{"launch_seconds", &TimeConstants::launch_seconds},
    Field{"link_efficiency", &TimeConstants::link_efficiency},
    Field{"network_efficiency", &TimeConstants::network_efficiency},
    Field{"collective_seconds", &TimeConstants::collective_seconds},
    Field{"hop_seconds", &TimeConstants::hop_seconds},
    Field{"overlap_cost", &TimeConstants::overlap_cost},
    Field{"expert_launches", &TimeConstants::expert_launches},
    Field{"deterministic_launches", &TimeConstants::deterministic_launches},
    Field{"hook_launches", &TimeConstants::hook_launches},
    Field{"straggler", &TimeConstants::straggler},
    Field{"interval_low", &TimeConstants::interval_low},
    Field{"interval_high", &TimeConstants::interval_high},
};

}  // namespace

TimeConstants load_time_constants(const std::string& given) {
  const char* variable = std::getenv("PLIMSOLL_TIME_CONSTANTS");
  const std::string file = given.empty() && variable != nullptr ? variable : given;
  const std::string source = file.empty() ? "time_constants.csv" : file;
  const CsvTable table = file.empty() ? parse_csv(catalog_text(source), source) : read_csv(file);
  const size_t name_at = table.column("name", source), value_at = table.column("value", source);
  TimeConstants constants;
  for (const Field& field : kFields) {
    bool found = false;
    for (const auto& row : table.rows) {
      if (row[name_at] != field.name) continue;
      const auto value = parse_number(row[value_at]);
      if (!value || *value < 0)
        throw caller_error(fmt::format("{}: {}", one_line(source, 100), field.name),
                           fmt::format("'{}' is no number from 0 on", one_line(row[value_at], 40)),
                           "docs/time.md says what each constant is");
      constants.*(field.value) = *value;
      found = true;
    }
    if (!found)
      throw caller_error(one_line(source, 100), fmt::format("has no {}", field.name),
                         "docs/time.md lists the constants");
  }
  return constants;
}

}  // namespace plimsoll
