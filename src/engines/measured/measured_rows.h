// Tables of measured runs, of both kinds: torch_peak.csv (peaks traced from the real code) and published.csv (figures
// that people published). A row becomes a run, or a reason why it can't.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/csv.h"
#include "engines/engine_run.h"
#include "engines/stack_memory.h"

namespace plimsoll {

struct MeasuredFigure {
  std::string quantity;  // peak_bytes, reserved_bytes, memory_gib, step_seconds, tokens_per_second
  double value = 0;
};

struct MeasuredRow {
  std::string id, source;
  std::vector<MeasuredFigure> figures;
  std::string reason;          // why no profile applies; empty: `run` is filled
  std::string unknown_memory;  // why the run's bytes can't be told though it is one: a length that isn't stated …
  EngineRun run;
  bool inference = false;
  // For the time of a step (published_time.cpp).
  std::string unknown_time;      // why the run's seconds can't be told: a batch that isn't stated …
  int64_t mean_length = 0;       // tokens of a sequence on average, where the row says both; 0: run.recipe.seq_len
  bool says_recompute = false;   // else the stack's habit counts
  bool deterministic = false;    // kernels that give the same bits each time: fewer of them are fused
  std::optional<bool> overlaps;  // collectives hide behind computing; empty: the stack's habit
  std::optional<bool> fp8_products, fp4_products;  // what the row's precision means for products of frozen weights
  MemoryMeasure measure = MemoryMeasure::device;
  double gib = 1;  // what the published unit is, in GiB: rows that say GB may mean 10⁹ bytes
};

// `folder` is that of the file: torch_peak.csv names configs beside it. Throws a caller Error for a table of neither
// kind.
std::vector<MeasuredRow> read_measured_rows(const CsvTable& table, const std::string& folder, std::string_view name);

// A cell by the name of its column; empty where there is none.
struct RowCells {
  const CsvTable* table;
  const std::vector<std::string>* cells;
  std::string_view operator[](std::string_view column) const;
  std::optional<double> number(std::string_view column) const;
  int64_t integer(std::string_view column, int64_t otherwise) const;
};

MeasuredRow torch_peak_row(const RowCells& row, const std::string& folder);
MeasuredRow published_row(const RowCells& row);
// What Megatron's own flags say; `name` is the model's in lower case.
void read_published_megatron(const RowCells& row, std::string_view name, MeasuredRow& made);
void read_published_time(const RowCells& row, MeasuredRow& made);  // what only the time of a step asks for

// "KEY=VALUE" in a row's notes; empty where there is none.
std::string_view note_value(std::string_view notes, std::string_view key);

}  // namespace plimsoll
