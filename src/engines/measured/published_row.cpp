// Rows of published.csv: what people measured and printed, as far as they say what they ran.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "base/words.h"
#include "engines/measured/measured_rows.h"
#include "engines/measured/model_names.h"

namespace plimsoll {
namespace {

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

// The first whole number after `mark`.
int64_t number_after(std::string_view text, std::string_view mark) {
  const size_t at = text.find(mark);
  if (at == std::string_view::npos) return 0;
  std::string_view rest = text.substr(at + mark.size());
  const size_t first = rest.find_first_of("0123456789");
  if (first == std::string_view::npos || first > 4) return 0;
  rest.remove_prefix(first);
  return parse_integer(rest.substr(0, rest.find_first_not_of("0123456789"))).value_or(0);
}

// The first reason stays.
void say_unknown(MeasuredRow& made, std::string_view reason) {
  if (made.unknown_memory.empty()) made.unknown_memory = reason;
}

void read_method(const RowCells& row, MeasuredRow& made) {
  const std::string method = lower_case(row["method"]);
  EngineRecipe& recipe = made.run.recipe;
  if (method == "inference") made.inference = true;
  else if (method == "qlora") recipe.method = TuneMethod::qlora;
  else if (method == "lora") recipe.method = TuneMethod::lora;
  else if (method == "full" || method == "pretrain") recipe.method = TuneMethod::full;
  else if (!row["lora_targets"].empty() && !row["lora_rank"].empty()) recipe.method = TuneMethod::lora;  // kin of LoRA
  else made.unknown_memory = fmt::format("method {} has no profile", method);
}

void read_precision(const RowCells& row, MeasuredRow& made) {
  const std::string precision = lower_case(row["precision"]);
  EngineRecipe& recipe = made.run.recipe;
  const bool half16 = contains(precision, "fp16") && !contains(precision, "bf16");
  recipe.compute = half16 ? ComputeMode::f16 : ComputeMode::bf16;
  recipe.weights = half16 ? WeightFormat::f16 : WeightFormat::bf16;
  if (precision == "fp32" || contains(precision, "32-true")) {
    recipe.compute = ComputeMode::f32;
    recipe.weights = WeightFormat::f32;
  }
  if (contains(precision, "amp_")) {
    recipe.compute = half16 ? ComputeMode::amp_f16 : ComputeMode::amp_bf16;
    recipe.weights = WeightFormat::f32;
  }
  if (contains(precision, "fp8")) recipe.compute = ComputeMode::fp8;
  WeightFormat quantized = WeightFormat::nf4_double;
  if (contains(precision, "int8") || contains(precision, "8bit") || contains(precision, "8-bit"))
    quantized = WeightFormat::int8;
  else if (contains(precision, "gptq") || contains(precision, "awq")) quantized = WeightFormat::gptq4;
  else if (contains(precision, "nf4") && !contains(precision, "dq")) quantized = WeightFormat::nf4;
  else if (contains(precision, "fp4")) quantized = WeightFormat::fp4;
  const bool weights = recipe.method == TuneMethod::qlora || made.inference;
  const bool says = contains(precision, "int4") || contains(precision, "int8") || contains(precision, "nf4") ||
                    contains(precision, "4bit") || contains(precision, "fp4") || contains(precision, "gptq");
  if (recipe.method == TuneMethod::qlora || (weights && says && !contains(precision, "kv int8")))
    recipe.weights = quantized;
  const std::string optimizer = lower_case(row["optimizer"]);
  recipe.half_states = contains(optimizer, "bf16 states");
  recipe.optimizer = contains(optimizer, "8bit")        ? EngineOptimizer::adamw_8bit
                     : contains(optimizer, "sgd")       ? EngineOptimizer::sgd_foreach
                     : contains(optimizer, "adafactor") ? EngineOptimizer::adafactor
                     : contains(optimizer, "muon")      ? EngineOptimizer::muon
                                                        : EngineOptimizer::adamw_foreach;
}

void read_targets(const RowCells& row, MeasuredRow& made) {
  EngineRecipe& recipe = made.run.recipe;
  recipe.lora_rank = row.integer("lora_rank", recipe.method == TuneMethod::full ? 0 : 8);
  if (recipe.method == TuneMethod::full) return;
  const std::string targets = lower_case(row["lora_targets"]);
  recipe.trains_embeddings = contains(targets, "wte") && contains(targets, "lm_head");
  if (contains(targets, "all") || contains(targets, "w1,w2") || contains(targets, "down"))
    recipe.lora_targets = {"all-linear"};
  else if (contains(targets, "qkv") || contains(targets, "c_attn"))
    recipe.lora_targets = {"q_proj", "k_proj", "v_proj", "qkv_proj", "query_key_value", "c_attn"};
  else if (contains(targets, "q") && contains(targets, "v"))
    recipe.lora_targets = {"q_proj", "v_proj", "qkv_proj", "query_key_value"};
  else recipe.lora_targets = {"all-linear"};
  // Beside all others: q, k and v are one matrix.
  if (contains(targets, "c_attn") && recipe.lora_targets.front() == "all-linear")
    recipe.lora_targets.emplace_back("c_attn");
}

void read_layout(const RowCells& row, MeasuredRow& made) {
  const std::string_view notes = row["notes"];
  EngineLayout& l = made.run.layout;
  l.tensor = std::max<int64_t>(1, row.integer("tp", 1));
  l.pipeline = std::max<int64_t>(1, row.integer("pp", 1));
  l.context = std::max<int64_t>(1, row.integer("cp_or_sp", 1));
  l.expert = std::max<int64_t>(1, row.integer("ep", 1));
  const std::string context = lower_case(row["cp_or_sp"]);
  if (contains(context, "ulysses")) l.context = std::max<int64_t>(1, number_after(context, "sp"));
  l.sequence_parallel = note_value(notes, "sequence-parallel") == "true" || context == "sp";
  const int64_t model_ranks = l.tensor * l.pipeline * l.context;
  int64_t gpus = row.integer("gpus", 0);
  int64_t data = parse_integer(note_value(notes, "dp")).value_or(0);
  if (data == 0) data = number_after(notes, "dp ");
  // The devices are what counts: notes may tell of several runs.
  if (gpus > 0 && (data == 0 || (data * model_ranks != gpus && gpus % model_ranks == 0))) data = gpus / model_ranks;
  if (data == 0 && contains(lower_case(row["zero_stage_or_fsdp"]), "distributed"))
    say_unknown(made, "the number of devices isn't stated");
  l.data = std::max<int64_t>(1, data);
  if (made.inference && row["tp"].empty() && row["pp"].empty() && gpus > 1) {  // layers split over devices
    l.pipeline = gpus;
    l.data = 1;
  }
  const std::string sharding = lower_case(row["zero_stage_or_fsdp"]);
  if (contains(sharding, "zero-3") || contains(sharding, "full_shard") || contains(sharding, "fsdp")) l.zero_stage = 3;
  else if (contains(sharding, "zero-2") || contains(sharding, "shard_grad_op")) l.zero_stage = 2;
  else if (contains(sharding, "zero-1") || contains(sharding, "distributed")) l.zero_stage = 1;
  if (contains(sharding, "shard_grad_op")) l.zero_stage = 2;
  l.offload_optimizer = l.offload_parameters = contains(sharding, "offload");
  if (contains(sharding, "device_map")) made.unknown_memory = "layers are split over devices by hand";
  const int64_t virtual_layers = parse_integer(note_value(notes, "num-layers-per-virtual-pipeline-stage")).value_or(0);
  if (virtual_layers > 0 && l.pipeline > 1)
    l.virtual_stages = std::max<int64_t>(1, made.run.model.layers / (l.pipeline * virtual_layers));
  l.expert_tensor = parse_integer(note_value(notes, "expert-tensor-parallel-size")).value_or(0);
  if (contains(notes, "LAST rank")) l.stage = l.pipeline - 1;
  EngineRecipe& recipe = made.run.recipe;
  const int64_t global = row.integer("global_batch", 0);
  const int64_t micro = std::max<int64_t>(1, recipe.micro_batch);
  recipe.grad_accum_steps = global > 0 ? std::max<int64_t>(1, global / (micro * l.data)) : l.pipeline * 2;
}

void read_figures(const RowCells& row, MeasuredRow& made) {
  const auto figure = [&](std::string_view column, std::string_view quantity) {
    if (const auto value = row.number(column); value && *value > 0)
      made.figures.push_back({std::string(quantity), *value});
  };
  figure("measured_mem_gib_per_gpu", "memory_gib");
  figure("measured_step_s", "step_seconds");
  figure("measured_tokens_per_s_per_gpu", "tokens_per_second");
}

// `name` is the model's in lower case. Where the shape can't be known, made.reason says why.
void read_model(const RowCells& row, std::string_view name, MeasuredRow& made) {
  if (name.starts_with("t5") || name.starts_with("t0") || name.starts_with("mt0") || name.starts_with("bert")) {
    made.reason = "a model with an encoder";
    return;
  }
  std::optional<ModelConfig> model = model_by_written_name(row["model"]);
  if (!model) model = model_by_sizes(row["notes"], row.number("params_b").value_or(0), row.integer("pp", 1));
  if (model) made.run.model = *model;
  else made.reason = fmt::format("the shape of {} isn't known", row["model"]);
}

void read_sizes(const RowCells& row, MeasuredRow& made) {
  const std::string_view notes = row["notes"];
  EngineRecipe& recipe = made.run.recipe;
  recipe.seq_len = row.integer("seq_len", 0);
  if (recipe.seq_len == 0) recipe.seq_len = number_after(notes, "max_seq ");
  if (recipe.seq_len == 0) recipe.seq_len = number_after(notes, "sample ~");
  if (recipe.seq_len == 0 && !made.inference) say_unknown(made, "the length of the sequences isn't stated");
  // A cut beyond the samples: the longest of them counts, and in text of many lengths that is some twice the mean.
  if (const size_t at = notes.find(" tokens avg, truncated"); at != std::string_view::npos) {
    const std::string_view before = notes.substr(0, at);
    const int64_t mean = parse_integer(before.substr(before.find_last_not_of("0123456789") + 1)).value_or(0);
    if (mean > 0) recipe.seq_len = std::min(recipe.seq_len, 2 * mean);
  }
  recipe.micro_batch = row.integer("micro_batch", 0);
  if (recipe.micro_batch == 0 && !made.inference) say_unknown(made, "the micro-batch isn't stated");
  recipe.micro_batch = std::max<int64_t>(1, recipe.micro_batch);
  if (!made.inference) recipe.seq_len = std::max<int64_t>(1, recipe.seq_len);
}

void read_recompute(const RowCells& row, const StackMemory& stack, MeasuredRow& made) {
  const std::string_view recompute = row["recompute"];
  EngineRecipe& recipe = made.run.recipe;
  recipe.recompute = recompute == "full"        ? RecomputeKind::full
                     : recompute == "selective" ? RecomputeKind::selective
                                                : RecomputeKind::none;
  if (!recompute.empty() || made.inference) return;
  if (stack.recompute == StackMemory::Recompute::full) recipe.recompute = RecomputeKind::full;
  if (stack.recompute == StackMemory::Recompute::unknown)
    say_unknown(made, "whether activations are recomputed isn't stated");
}

// What the stack does with the recipe's types.
void apply_stack(const RowCells& row, const StackMemory& stack, EngineRecipe& recipe) {
  const bool bitsandbytes = recipe.weights == WeightFormat::nf4 || recipe.weights == WeightFormat::nf4_double ||
                            recipe.weights == WeightFormat::fp4;
  recipe.quantized_keeps_input = bitsandbytes && stack.old_bitsandbytes;
  recipe.kbit_preparation = stack.amp && recipe.method == TuneMethod::qlora && bitsandbytes;
  // DeepSpeed's engine computes in the weights' type, without autocast; it runs full training, sharded runs and fp16.
  const bool engine =
      stack.master_weights &&
      (recipe.method == TuneMethod::full || recipe.compute == ComputeMode::f16 || !row["zero_stage_or_fsdp"].empty());
  if (stack.amp && !engine && recipe.compute == ComputeMode::bf16) recipe.compute = ComputeMode::amp_bf16;
  if (stack.amp && !engine && recipe.compute == ComputeMode::f16) recipe.compute = ComputeMode::amp_f16;
  recipe.half_loss = engine && stack.half_loss;
}

// Tables that add one setting a row, on top of those before it (torchtune's): what the columns can't say stays unknown.
void read_added_settings(std::string_view notes, MeasuredRow& made) {
  constexpr std::string_view kInColumns[] = {"+ Packed", "+ Compile", "+ Chunked", "+ Activation Checkpointing"};
  constexpr std::string_view kSettings[] = {"+ Optimizer step in backward", "+ Activation Offloading", "+ 8-bit AdamW"};
  const auto begins = [&](std::string_view setting) { return notes.starts_with(setting); };
  const auto* const found = std::find_if(std::begin(kSettings), std::end(kSettings), begins);
  if (found != std::end(kSettings)) {
    made.run.recipe.step_in_backward = true;
    made.run.recipe.offload_activations = found > std::begin(kSettings);
  } else if (contains(notes, "cumulative") && std::none_of(std::begin(kInColumns), std::end(kInColumns), begins)) {
    say_unknown(made, "what the run does is told in words, on top of other rows");
  }
}

void read_measure(std::string_view notes, const StackMemory& stack, MeasuredRow& made) {
  made.measure = stack.measure;
  if (contains(notes, "GB as printed")) made.gib = 1e9 / (1024.0 * 1024.0 * 1024.0);
  if (contains(notes, "max_memory_allocated") || contains(notes, "max-allocated"))
    made.measure = MemoryMeasure::allocated;
  else if (contains(notes, "max reserved")) made.measure = MemoryMeasure::reserved;
  else if (contains(notes, "nvidia-smi")) made.measure = MemoryMeasure::device;
}

}  // namespace

MeasuredRow published_row(const RowCells& row) {
  MeasuredRow made;
  made.id = row["id"];
  made.source = row["source"];
  made.run.engine = row["framework"];
  made.run.device = row["hardware"];
  read_figures(row, made);
  read_method(row, made);
  read_precision(row, made);
  read_targets(row, made);
  const std::string name = lower_case(row["model"]);
  read_model(row, name, made);
  if (!made.reason.empty()) return made;
  made.run.serves = made.inference;
  if (made.inference && contains(lower_case(row["precision"]), "kv int8")) made.run.kv_bytes = 1;
  const StackMemory& stack = stack_memory(made.run.engine);
  read_sizes(row, made);
  read_recompute(row, stack, made);
  apply_stack(row, stack, made.run.recipe);
  read_added_settings(row["notes"], made);
  read_layout(row, made);
  read_measure(row["notes"], stack, made);
  if (stack.profile == MemoryProfile::megatron) read_published_megatron(row, name, made);
  read_published_time(row, made);
  return made;
}

}  // namespace plimsoll
