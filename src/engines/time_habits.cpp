#include "engines/time_habits.h"

#include <fmt/format.h>

#include "base/csv.h"
#include "base/error.h"
#include "base/text.h"
#include "base/words.h"
#include "cost/catalog_text.h"

namespace plimsoll {
namespace {

std::vector<TimeHabits> all_time_habits() {
  constexpr std::string_view kFile = "stack_habits.csv";
  const CsvTable table = parse_csv(catalog_text(kFile), kFile);
  const auto yes = [&](const std::vector<std::string>& row, std::string_view column) {
    const std::string& cell = row[table.column(column, kFile)];
    PLIMSOLL_CHECK(cell == "yes" || cell == "no", fmt::format("{}: {} is '{}'", kFile, column, cell));
    return cell == "yes";
  };
  const auto number = [&](const std::vector<std::string>& row, std::string_view column) {
    const auto value = parse_number(row[table.column(column, kFile)]);
    PLIMSOLL_CHECK(value.has_value(), fmt::format("{}: {} is no number", kFile, column));
    return *value;
  };
  std::vector<TimeHabits> all;
  for (const auto& row : table.rows) {
    TimeHabits habits;
    habits.stack = row[table.column("stack", kFile)];
    habits.fused = yes(row, "fused");
    habits.fused_loss = yes(row, "fused_loss");
    habits.flash = static_cast<int>(number(row, "flash"));
    habits.layer_launches = number(row, "layer_launches");
    habits.module_hooks = yes(row, "module_hooks");
    habits.overlap_gradients = yes(row, "overlap_gradients");
    habits.overlap_gather = yes(row, "overlap_gather");
    habits.overlap_tensor = yes(row, "overlap_tensor");
    habits.gradient_bytes = number(row, "gradient_bytes");
    habits.recomputes = yes(row, "recomputes");
    habits.offloads = yes(row, "offloads");
    habits.serves = yes(row, "serves");
    all.push_back(habits);
  }
  return all;
}

}  // namespace

TimeHabits time_habits(std::string_view engine) {
  static const std::vector<TimeHabits> kAll = all_time_habits();
  const std::string wanted = bare_name(engine.substr(0, 200));
  const TimeHabits* best = nullptr;
  for (const TimeHabits& habits : kAll) {
    const std::string name = bare_name(habits.stack);
    if (wanted.find(name) == std::string::npos) continue;
    if (best == nullptr || name.size() > bare_name(best->stack).size()) best = &habits;
  }
  PLIMSOLL_CHECK(best != nullptr, "the table of habits has no row without a name");
  return *best;
}

}  // namespace plimsoll
