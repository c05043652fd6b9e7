#include "cli/predict/engine_recipe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

#include "base/error.h"
#include "base/figures.h"
#include "base/text.h"
#include "base/words.h"
#include "config/quant_words.h"
#include "engines/stack_memory.h"

namespace plimsoll::cli {
namespace {

template <typename T>
struct Named {
  std::string_view name;
  T value;
};

constexpr std::array kWeights = {
    Named<WeightFormat>{"f32", WeightFormat::f32},     Named<WeightFormat>{"bf16", WeightFormat::bf16},
    Named<WeightFormat>{"f16", WeightFormat::f16},     Named<WeightFormat>{"int8", WeightFormat::int8},
    Named<WeightFormat>{"nf4", WeightFormat::nf4},     Named<WeightFormat>{"nf4-dq", WeightFormat::nf4_double},
    Named<WeightFormat>{"gptq4", WeightFormat::gptq4},
};
constexpr std::array kOptimizers = {
    Named<EngineOptimizer>{"adamw_foreach", EngineOptimizer::adamw_foreach},
    Named<EngineOptimizer>{"adamw_fused", EngineOptimizer::adamw_fused},
    Named<EngineOptimizer>{"adamw_8bit", EngineOptimizer::adamw_8bit},
    Named<EngineOptimizer>{"sgd", EngineOptimizer::sgd_foreach},
    Named<EngineOptimizer>{"sgd_momentum", EngineOptimizer::sgd_momentum_foreach},
    Named<EngineOptimizer>{"adafactor", EngineOptimizer::adafactor},
    Named<EngineOptimizer>{"muon", EngineOptimizer::muon},
};

template <typename T, size_t N>
T look_up(const std::array<Named<T>, N>& names, std::string_view text, std::string_view flag,
          const std::string& others = "") {
  std::string known;
  for (const Named<T>& each : names) {
    if (each.name == text) return each.value;
    known += (known.empty() ? "" : ", ") + std::string(each.name);
  }
  throw caller_error(std::string(flag), fmt::format("is {}", one_line(text, 40)), "one of " + known + others);
}

template <typename T, size_t N>
std::string_view name_of(const std::array<Named<T>, N>& names, T value) {
  for (const Named<T>& each : names)
    if (each.value == value) return each.name;
  return "none";
}

constexpr std::string_view kOwnPlan = "`plan` without --engine has it";

// --quant of qlora: what bitsandbytes holds.
WeightFormat packed_weights(const Recipe& recipe) {
  if (recipe.quant == quant_word::kAuto) return WeightFormat::nf4_double;
  if (recipe.quant == "int8") return WeightFormat::int8;
  if (recipe.quant == "nf4") return WeightFormat::nf4;
  throw caller_error("--quant", fmt::format("is {}, in which other engines hold no frozen weights", recipe.quant),
                     recipe.quant == "fp4"
                         ? "--quant nf4, whose blocks have the same bytes"
                         : fmt::format("--quant int8 or nf4, or --weights nf4-dq or gptq4; {}", kOwnPlan));
}

WeightFormat weights_of(const Recipe& recipe, const EngineOptions& options) {
  const bool says_quant = recipe.quant != quant_word::kAuto;
  if (says_quant && recipe.method != Method::qlora)
    throw caller_error("--quant", fmt::format("goes with --method qlora on {}", options.engine),
                       "--method qlora, or leave it out");
  if (!options.weights.empty()) {
    if (says_quant) throw caller_error("--quant", "stands beside --weights", "give one of them");
    return engine_weights(options.weights);
  }
  if (recipe.method == Method::qlora) return packed_weights(recipe);
  return recipe.precision == DType::f32   ? WeightFormat::f32
         : recipe.precision == DType::f16 ? WeightFormat::f16
                                          : WeightFormat::bf16;
}

EngineOptimizer optimizer_of(const Recipe& recipe, const EngineOptions& options) {
  if (!options.optimizer.empty()) {
    if (recipe.optimizer != OptimizerKind::adamw)
      throw caller_error("--engine-optimizer", "stands beside --optimizer", "give one of them");
    return look_up(kOptimizers, options.optimizer, "--engine-optimizer");
  }
  switch (recipe.optimizer) {
    case OptimizerKind::sgd:
      return recipe.momentum > 0 ? EngineOptimizer::sgd_momentum_foreach : EngineOptimizer::sgd_foreach;
    case OptimizerKind::adamw8bit:
      return EngineOptimizer::adamw_8bit;
    case OptimizerKind::adafactor:
      return EngineOptimizer::adafactor;
    case OptimizerKind::adamw:
    case OptimizerKind::adam:
      break;
  }
  return EngineOptimizer::adamw_foreach;
}

// Which stack has which optimizer: Megatron-Core's list, and what can step over ZeRO's flat f32 parts.
void refuse_optimizer(EngineOptimizer optimizer, const EngineOptions& options) {
  const StackMemory& stack = stack_memory(options.engine);
  const bool factored = optimizer == EngineOptimizer::adafactor;
  if (stack.profile == MemoryProfile::megatron && factored)
    throw caller_error("adafactor", fmt::format("is no optimizer of {}", options.engine),
                       "--optimizer adamw or sgd, --engine-optimizer muon, or --engine torch");
  if (stack.profile == MemoryProfile::sharded && stack.master_weights &&
      (factored || optimizer == EngineOptimizer::muon))
    throw caller_error(factored ? "adafactor" : "muon",
                       fmt::format("needs whole matrices; {} steps over flat parts", options.engine),
                       "--optimizer adamw, adamw8bit or sgd, or --engine fsdp2");
}

void refuse_what_is_ours(const Recipe& recipe, const EngineOptions& options) {
  const auto refuse = [&](const char* flag, std::string what, std::string way_out) {
    throw caller_error(flag, std::move(what), std::move(way_out));
  };
  if (recipe.method == Method::dora || recipe.method == Method::qat)
    refuse("--method",
           fmt::format("is {}, which no profile of another engine follows",
                       recipe.method == Method::dora ? "dora" : "qat"),
           fmt::format("--method {}; {}", recipe.method == Method::dora ? "lora" : "full", kOwnPlan));
  if (recipe.optimizer_state != DType::f32)
    refuse("--optimizer-state",
           fmt::format("is our own; on {} states follow the weights' type or are f32", options.engine),
           fmt::format("leave it out, or --optimizer adamw8bit; {}", kOwnPlan));
  if (!recipe.master_weights && stack_memory(options.engine).master_weights)
    refuse("--master-weights", fmt::format("is off; {} always has them", options.engine),
           "leave it out, or --engine fsdp2 or torch, which train the bf16 weights themselves");
  if (recipe.optimizer_in_backward && stack_memory(options.engine).stack != "torchtune")
    refuse("--optimizer-in-backward", fmt::format("is nothing that {} has", options.engine),
           "leave it out, or --engine torchtune");
  if (recipe.recompute == RecomputeMode::layers)
    refuse("--recompute", fmt::format("is a number of layers; the profile of {} knows all or none", options.engine),
           fmt::format("--recompute all or none; {}", kOwnPlan));
  if (recipe.recompute_keep != RecomputeKeep::automatic)
    refuse("--recompute-keep", "is our own", fmt::format("leave it out; {}", kOwnPlan));
  if (recipe.stream != StreamMode::automatic && recipe.stream != StreamMode::off)
    refuse("--stream", "is our own", fmt::format("--layout offload=…, or leave it out; {}", kOwnPlan));
  if (recipe.ce_chunk_rows) refuse("--ce-chunk-rows", "is our own", fmt::format("leave it out; {}", kOwnPlan));
}

std::string_view word_of(TuneMethod method) {
  return method == TuneMethod::full ? "full" : method == TuneMethod::lora ? "lora" : "qlora";
}

std::string_view word_of(RecomputeKind recompute) {
  return recompute == RecomputeKind::full ? "all" : recompute == RecomputeKind::none ? "none" : "modules";
}

std::string_view word_of(ComputeMode compute) {
  switch (compute) {
    case ComputeMode::f32:
      return "f32";
    case ComputeMode::bf16:
      return "bf16";
    case ComputeMode::f16:
      return "f16";
    case ComputeMode::amp_bf16:
      return "autocast bf16";
    case ComputeMode::amp_f16:
      return "autocast f16";
    case ComputeMode::fp8:
      return "fp8";
  }
  return "";
}

// As --optimizer names its family: an engine's AdamW may be fused or not.
std::string_view optimizer_name(const EngineRun& run) {
  const StackMemory& stack = stack_memory(run.engine);
  const bool torch = stack.profile != MemoryProfile::megatron && !stack.master_weights;
  const EngineOptimizer kind = run.recipe.optimizer;
  if (!torch && (kind == EngineOptimizer::adamw_foreach || kind == EngineOptimizer::adamw_fused)) return "adamw";
  if (stack.fused_optimizer && kind == EngineOptimizer::adamw_foreach) return "adamw_fused";
  return name_of(kOptimizers, kind);
}

}  // namespace

WeightFormat engine_weights(std::string_view text, const std::string& others) {
  return look_up(kWeights, text, "--weights", others);
}

EngineRecipe engine_recipe(const Recipe& recipe, const EngineOptions& options) {
  refuse_what_is_ours(recipe, options);
  EngineRecipe r;
  r.weights = weights_of(recipe, options);
  const bool quantized =
      r.weights != WeightFormat::f32 && r.weights != WeightFormat::bf16 && r.weights != WeightFormat::f16;
  r.compute = r.weights == WeightFormat::f16   ? ComputeMode::f16
              : recipe.precision == DType::f32 ? ComputeMode::f32
                                               : ComputeMode::bf16;
  if (options.autocast) r.compute = ComputeMode::amp_bf16;
  r.method = recipe.method == Method::full ? TuneMethod::full : quantized ? TuneMethod::qlora : TuneMethod::lora;
  if (quantized && r.method == TuneMethod::full)
    throw caller_error("--weights", fmt::format("is {}, which can't be trained", options.weights),
                       "train adapters on it (--method lora), or give bf16 or f32");
  if (recipe.method == Method::qlora && !quantized)
    throw caller_error("--weights", fmt::format("is {}, which is not quantized", options.weights),
                       "give --method lora, or a quantized type as nf4-dq");
  if (r.method != TuneMethod::full) {
    r.lora_rank = recipe.rank;
    r.lora_dropout = recipe.lora_dropout;
    r.lora_targets = split_list(recipe.targets, ',');
  }
  r.optimizer = optimizer_of(recipe, options);
  refuse_optimizer(r.optimizer, options);
  r.step_in_backward = recipe.optimizer_in_backward;
  const bool habit = recipe.recompute == RecomputeMode::automatic &&
                     stack_memory(options.engine).recompute == StackMemory::Recompute::full;
  r.recompute = habit || recipe.recompute == RecomputeMode::all ? RecomputeKind::full : RecomputeKind::none;
  r.seq_len = recipe.seq_len;
  r.micro_batch = recipe.micro_batch.value_or(1);
  return r;
}

std::string recipe_text(const EngineRun& run) {
  const EngineRecipe& r = run.recipe;
  const std::string method = r.method == TuneMethod::full ? "all weights"
                                                          : fmt::format("adapters of rank {} on {}", r.lora_rank,
                                                                        fmt::join(r.lora_targets, ","));
  return fmt::format(
      "planned: {}, weights {}, compute {}, {}, {} × {} tokens a micro-batch, {} micro-batch{} a step, recompute {}",
      method, name_of(kWeights, r.weights), word_of(r.compute), optimizer_name(run), format_thousands(r.micro_batch),
      format_thousands(r.seq_len), format_thousands(r.grad_accum_steps), r.grad_accum_steps == 1 ? "" : "es",
      word_of(r.recompute));
}

Json recipe_json(const EngineRun& run) {
  const EngineRecipe& r = run.recipe;
  const bool adapters = r.method != TuneMethod::full;
  return {{"method", word_of(r.method)},
          {"weights", name_of(kWeights, r.weights)},
          {"compute", word_of(r.compute)},
          {"optimizer", optimizer_name(run)},
          {"rank", adapters ? Json(r.lora_rank) : Json(nullptr)},
          {"lora_dropout", adapters ? Json(r.lora_dropout) : Json(nullptr)},
          {"micro_batch", r.micro_batch},
          {"seq_len", r.seq_len},
          {"micro_batches", r.grad_accum_steps},
          {"global_batch", r.grad_accum_steps * r.micro_batch * run.layout.data},
          {"recompute", word_of(r.recompute)},
          {"zero", run.layout.zero_stage}};
}

}  // namespace plimsoll::cli
