// Rows of torch_peak.csv.
#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "engines/measured/measured_rows.h"
#include "formats/text_file.h"

namespace plimsoll {
namespace {

template <typename T>
struct Named {
  std::string_view name;
  T value;
};

template <typename T, size_t N>
bool look_up(const Named<T> (&names)[N], std::string_view name, T& into) {
  for (const Named<T>& each : names) {
    if (each.name != name) continue;
    into = each.value;
    return true;
  }
  return false;
}

constexpr Named<TuneMethod> kMethods[] = {
    {"full", TuneMethod::full}, {"lora", TuneMethod::lora}, {"qlora", TuneMethod::qlora}};
constexpr Named<ComputeMode> kComputes[] = {{"fp32", ComputeMode::f32},
                                            {"bf16", ComputeMode::bf16},
                                            {"fp16", ComputeMode::f16},
                                            {"amp_bf16", ComputeMode::amp_bf16},
                                            {"amp_fp16", ComputeMode::amp_f16}};
constexpr Named<EngineOptimizer> kOptimizers[] = {{"adamw_foreach", EngineOptimizer::adamw_foreach},
                                                  {"adamw_fused", EngineOptimizer::adamw_fused},
                                                  {"adamw_8bit", EngineOptimizer::adamw_8bit},
                                                  {"sgd", EngineOptimizer::sgd_foreach},
                                                  {"sgd_momentum", EngineOptimizer::sgd_momentum_foreach},
                                                  {"adafactor", EngineOptimizer::adafactor}};
constexpr Named<WeightFormat> kWeights[] = {{"fp32", WeightFormat::f32},
                                            {"bf16", WeightFormat::bf16},
                                            {"fp16", WeightFormat::f16},
                                            {"nf4", WeightFormat::nf4_double}};
constexpr Named<AttentionKernel> kKernels[] = {{"sdpa:flash", AttentionKernel::flash},
                                               {"sdpa:efficient", AttentionKernel::efficient},
                                               {"sdpa:math", AttentionKernel::math},
                                               {"eager", AttentionKernel::eager}};
constexpr Named<RecomputeKind> kRecomputes[] = {
    {"none", RecomputeKind::none}, {"full", RecomputeKind::full}, {"", RecomputeKind::none}};

}  // namespace

MeasuredRow torch_peak_row(const RowCells& row, const std::string& folder) {
  MeasuredRow made;
  made.id = row["id"];
  made.source = "torch_peak";
  made.measure = MemoryMeasure::allocated;
  for (const std::string_view quantity : {"peak_bytes", "reserved_bytes"})
    if (const auto value = row.number(quantity); value && *value >= 1)
      made.figures.push_back({std::string(quantity), *value});
  EngineRecipe& recipe = made.run.recipe;
  const auto need = [&](bool known, std::string_view column) {
    if (!known && made.reason.empty()) made.reason = fmt::format("{} {} is not known", column, row[column]);
  };
  need(look_up(kMethods, row["method"], recipe.method), "method");
  need(look_up(kComputes, row["compute_dtype"], recipe.compute), "compute_dtype");
  need(look_up(kOptimizers, row["optimizer"], recipe.optimizer), "optimizer");
  need(look_up(kWeights, row["weight_dtype"], recipe.weights), "weight_dtype");
  need(look_up(kRecomputes, row["recompute"], recipe.recompute), "recompute");
  need(look_up(kKernels, row["attention"], recipe.attention), "attention");
  if (recipe.attention != AttentionKernel::eager) recipe.attention = AttentionKernel::automatic;
  if (row["quant"] == "nf4") recipe.weights = WeightFormat::nf4;
  recipe.lora_rank = row.integer("lora_rank", 0);
  std::string_view targets = row["lora_targets"];
  while (!targets.empty()) {
    const size_t end = std::min(targets.find(';'), targets.size());
    recipe.lora_targets.emplace_back(targets.substr(0, end));
    targets.remove_prefix(std::min(end + 1, targets.size()));
  }
  recipe.lora_dropout = row.number("lora_dropout").value_or(0);
  const std::string_view notes = row["notes"];
  recipe.adapter_f32 = notes.find("adapters bf16") == std::string_view::npos;
  recipe.kbit_preparation = notes.find("prepare_model_for_kbit_training") != std::string_view::npos;
  recipe.micro_batch = row.integer("micro_batch", 1);
  recipe.seq_len = row.integer("seq_len", 1);
  recipe.grad_accum_steps = row.integer("grad_accum", 1);
  EngineLayout& layout = made.run.layout;
  layout.data = row.integer("world_size", 1);
  made.run.engine = "torch";
  if (row["sharding"] == "fsdp2") {
    made.run.engine = "fsdp2";
    layout.zero_stage = 3;
    layout.reshard_after_forward = notes.find("reshard_after_forward False") == std::string_view::npos;
    recipe.reduce_f32 = notes.find("reduce_dtype fp32") != std::string_view::npos;
  } else if (row["sharding"] != "none" && !row["sharding"].empty()) {
    need(false, "sharding");
  }
  try {
    const std::string path = folder + "/" + std::string(row["config_file"]);
    made.run.model = parse_hf_config(read_text_file(path), path);
  } catch (const Error& error) {
    if (made.reason.empty()) made.reason = error.thing() + ": " + error.problem();
  }
  return made;
}

}  // namespace plimsoll
