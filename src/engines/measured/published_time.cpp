// What the time of a published step asks for beside its run: batches, lengths and layouts that the row must state.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "base/text.h"
#include "engines/measured/measured_rows.h"

namespace plimsoll {
namespace {

// The number behind `key` in free text ("VP=8", "avg 210 tokens/sample"); 0: none.
int64_t number_behind(std::string_view text, std::string_view key) {
  const size_t at = text.find(key);
  if (at == std::string_view::npos) return 0;
  const std::string_view rest = text.substr(at + key.size());
  return parse_integer(rest.substr(0, rest.find_first_not_of("0123456789"))).value_or(0);
}

std::string missing(const RowCells& row, const MeasuredRow& made) {
  constexpr std::array<std::string_view, 4> kMethods = {"pretrain", "full", "lora", "qlora"};
  if (std::find(kMethods.begin(), kMethods.end(), row["method"]) == kMethods.end())
    return fmt::format("no time model of {}", row["method"]);
  if (row["gpus"].empty()) return "the number of devices isn't stated";
  if (row["micro_batch"].empty()) return "the micro-batch isn't stated";
  if (row["seq_len"].empty() && made.mean_length == 0) return "the length of the sequences isn't stated";
  if (row["notes"].find("DeepEP") != std::string_view::npos && row["ep"].empty())
    return "how its experts are spread isn't stated";
  const bool many = made.run.layout.devices() > 8;
  if (many && (row["tp"].empty() || row["pp"].empty())) return "the layout isn't stated";
  const bool counts_steps = !row["measured_step_s"].empty() && row["measured_tokens_per_s_per_gpu"].empty();
  if (counts_steps && row["global_batch"].empty()) return "the global batch isn't stated";
  return "";
}

}  // namespace

void read_published_time(const RowCells& row, MeasuredRow& made) {
  const std::string_view notes = row["notes"];
  made.says_recompute = !row["recompute"].empty();
  if (const size_t at = notes.find(" tokens/sample"); row["seq_len"].empty() && at != std::string_view::npos)
    made.mean_length = number_behind(notes.substr(0, at), "(avg ");
  made.deterministic = note_value(notes, "deterministic-mode") == "true";
  if (notes.find("no comm overlap") != std::string_view::npos) made.overlaps = false;
  // "QoFP8", "QoNF4", "FP4": the base's storage and the products of one stack's own kernels.
  const std::string_view precision = row["precision"];
  if (precision == "FP4") made.fp4_products = true;
  if (precision == "FP8" || precision == "QoFP8" || precision == "QoFP4" || precision == "QoNF4")
    made.fp8_products = true;
  EngineLayout& layout = made.run.layout;
  int64_t chunks = number_behind(notes, "num-virtual-stages-per-pipeline-rank=");
  if (chunks == 0) chunks = number_behind(notes, "VP=");
  if (chunks > 1 && layout.pipeline > 1 && layout.pipeline * chunks <= made.run.model.layers + 2)
    layout.virtual_stages = chunks;
  made.unknown_time = missing(row, made);
}

}  // namespace plimsoll
