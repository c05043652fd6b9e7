#include "cli/predict/plan_engine.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

#include "base/bytes.h"
#include "base/error.h"
#include "base/figures.h"
#include "base/table.h"
#include "base/text.h"
#include "cli/predict/time_report.h"
#include "engines/engine_time.h"
#include "engines/pipeline_stages.h"
#include "engines/serving_memory.h"
#include "engines/stack_memory.h"
#include "formats/gguf/gguf_file_type.h"
#include "formats/output_file.h"
#include "hub/model_source.h"

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

constexpr std::array kCached = {
    Named<double>{"f16", 2.0},
    Named<double>{"fp8", 1.0},
    Named<double>{"q8_0", 34.0 / 32},
    Named<double>{"q4_0", 18.0 / 32},
};

// What --layout says beside ranks: stages and modules of Megatron, and settings of DeepSpeed.
struct LayoutText {
  int64_t first = 0, last = 0;
};

bool read_number_key(std::string_view key, int64_t value, EngineRun& run, LayoutText& text) {
  EngineLayout& layout = run.layout;
  struct Number {
    std::string_view name;
    int64_t* place;
    int64_t most = 1'000'000;
  };
  constexpr int64_t kValues = int64_t{1} << 40;
  ZeroSettings& zero = layout.zero;
  const Number numbers[] = {{"dp", &layout.data},
                            {"tp", &layout.tensor},
                            {"pp", &layout.pipeline},
                            {"cp", &layout.context},
                            {"ep", &layout.expert},
                            {"etp", &layout.expert_tensor},
                            {"vpp", &layout.virtual_stages},
                            {"first", &text.first},
                            {"last", &text.last},
                            {"mtp", &run.recipe.further_tokens},
                            {"live", &zero.max_live, kValues},
                            {"reuse", &zero.reuse_distance, kValues},
                            {"prefetch", &zero.prefetch, kValues},
                            {"persist", &zero.persistence, kValues},
                            {"bucket", &zero.reduce_bucket, kValues},
                            {"subgroup", &zero.sub_group, kValues}};
  for (const auto& [name, place, most] : numbers) {
    if (name != key) continue;
    if (value > most) return false;
    *place = value;
    return true;
  }
  if (key == "zero" && value <= 3) layout.zero_stage = static_cast<int>(value);
  else if (key == "sp" && value <= 1) layout.sequence_parallel = value == 1;
  else if (key == "defer") run.recipe.deferred_logits = value;
  else return false;
  return true;
}

bool read_word_key(std::string_view key, std::string_view value, EngineRun& run) {
  EngineLayout& layout = run.layout;
  if (key == "offload") {
    layout.offload_optimizer = value == "optimizer" || value == "all";
    layout.offload_parameters = value == "params" || value == "all";
    return layout.offload_optimizer || layout.offload_parameters;
  }
  if (key == "offload_to") {
    layout.offload_place = value == "nvme" ? OffloadPlace::nvme : OffloadPlace::host;
    return value == "nvme" || value == "cpu";
  }
  if (key != "again" && key != "stages" && key != "torchtune") return false;
  if (value.empty() || value.back() == '+') return false;
  while (!value.empty()) {
    const std::string_view part = value.substr(0, value.find('+'));
    value.remove_prefix(std::min(value.size(), part.size() + 1));
    if (key == "again") {
      if (!set_recompute_module(run.recipe.modules, part)) return false;
      run.recipe.recompute = RecomputeKind::selective;
    } else if (key == "torchtune") {
      if (part == "step_in_backward") run.recipe.step_in_backward = true;
      else if (part == "offload_activations") run.recipe.offload_activations = true;
      else return false;
    } else {
      const auto layers = parse_integer(part);
      if (!layers || *layers < 0 || *layers > 4096 || layout.chunk_layers.size() >= 4096) return false;
      layout.chunk_layers.push_back(*layers);
    }
  }
  return true;
}

void read_layout(std::string_view text, EngineRun& run) {
  constexpr int64_t kMost = int64_t{1} << 40;
  const auto bad = [&](std::string_view part) {
    return caller_error("--layout", fmt::format("has {}", one_line(part, 60)),
                        "write it like dp=8,tp=2,pp=1,cp=1,ep=1,zero=3,sp=1,offload=optimizer,offload_to=cpu; "
                        "docs/engines.md has all keys");
  };
  LayoutText more;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), part.size() + 1));
    const size_t sign = part.find('=');
    if (sign == std::string_view::npos) throw bad(part);
    const std::string_view key = part.substr(0, sign), value = part.substr(sign + 1);
    const auto number = parse_number(value);
    const bool whole = number && *number >= 0 && *number <= static_cast<double>(kMost) &&
                       *number == static_cast<double>(static_cast<int64_t>(*number));
    if (!(whole && read_number_key(key, static_cast<int64_t>(*number), run, more)) && !read_word_key(key, value, run))
      throw bad(part);
  }
  if (more.first > 0 || more.last > 0) {
    if (!run.layout.chunk_layers.empty())
      throw caller_error("--layout", "has first= or last= beside stages=", "give one of them");
    if (run.layout.pipeline < 2)
      throw caller_error("--layout", "has first= or last= without stages", "write pp=2 or more");
    run.layout.chunk_layers = uneven_chunks(run.layout, run.model.layers, more.first, more.last);
  }
}

std::string interval_row(std::string_view name, const ByteInterval& figure) {
  return fmt::format("  {:<13}{:>12}   {} to {}\n", name, format_bytes(figure.bytes), format_bytes(figure.low),
                     format_bytes(figure.high));
}

Json interval_json(const ByteInterval& figure) {
  return {{"bytes", figure.bytes}, {"low", figure.low}, {"high", figure.high}};
}

std::string text_of(const EngineRun& run, const EngineMemory& memory, const std::optional<int64_t>& line) {
  std::string text =
      fmt::format("{} on {} device{}: a prediction (profile {}), not a plan of ours\n\n", run.engine,
                  run.layout.devices(), run.layout.devices() == 1 ? "" : "s, the one with the most", memory.kind);
  text += interval_row("allocated", memory.allocated) + interval_row("reserved", memory.reserved) +
          interval_row("device used", memory.device_used);
  text +=
      fmt::format("\n  at the peak: {} parameters, {} gradients, {} optimizer state, {} activations and workspace\n",
                  format_bytes(memory.parameters), format_bytes(memory.gradients), format_bytes(memory.optimizer_state),
                  format_bytes(memory.activations));
  text += fmt::format("  peak: {}: {}\n", memory.peak_phase, memory.peak_op);
  for (const PhasePeak& phase : memory.phases)
    text += fmt::format("    {:<10}{:>12}\n", phase.name, format_bytes(phase.bytes));
  if (memory.host_bytes > 0)
    text += fmt::format("  in host memory, of each rank: {}{}\n", format_bytes(memory.host_bytes),
                        memory.pinned_bytes > 0 ? fmt::format(" ({} pinned)", format_bytes(memory.pinned_bytes)) : "");
  if (memory.nvme_bytes > 0) text += fmt::format("  on NVMe, of each rank: {}\n", format_bytes(memory.nvme_bytes));
  if (!memory.note.empty()) text += fmt::format("  {}\n", memory.note);
  if (line) text += fmt::format("  line: {}\n", format_bytes(*line));
  return text;
}

Json json_of(const std::string& model, const EngineRun& run, const EngineMemory& memory,
             const std::optional<int64_t>& line) {
  Json phases = Json::array();
  for (const PhasePeak& phase : memory.phases) phases.push_back({{"name", phase.name}, {"bytes", phase.bytes}});
  return {{"kind", "engine"},
          {"model", model},
          {"engine", run.engine},
          {"profile", memory.kind},
          {"devices", run.layout.devices()},
          {"allocated", interval_json(memory.allocated)},
          {"reserved", interval_json(memory.reserved)},
          {"device_used", interval_json(memory.device_used)},
          {"at_peak",
           {{"parameters", memory.parameters},
            {"gradients", memory.gradients},
            {"optimizer_state", memory.optimizer_state},
            {"activations", memory.activations}}},
          {"peak", {{"phase", memory.peak_phase}, {"op", memory.peak_op}}},
          {"phases", phases},
          {"host_bytes", memory.host_bytes},
          {"host_pinned_bytes", memory.pinned_bytes},
          {"nvme_bytes", memory.nvme_bytes},
          {"note", memory.note.empty() ? Json(nullptr) : Json(memory.note)},
          {"budget_bytes", line ? Json(*line) : Json(nullptr)},
          {"fits", line ? Json(memory.device_used.bytes <= *line) : Json(nullptr)}};
}

}  // namespace

EngineRun engine_run(const Recipe& recipe, const EngineOptions& options) {
  EngineRun run;
  run.engine = options.engine;
  run.model = open_model_source(recipe.model, ModelNeed::text).config;
  EngineRecipe& r = run.recipe;
  const bool half = recipe.precision != DType::f32;
  r.weights = half ? WeightFormat::bf16 : WeightFormat::f32;
  if (recipe.method == Method::qlora) r.weights = WeightFormat::nf4_double;
  if (!options.weights.empty()) r.weights = look_up(kWeights, options.weights, "--weights");
  const bool quantized =
      r.weights != WeightFormat::f32 && r.weights != WeightFormat::bf16 && r.weights != WeightFormat::f16;
  r.compute = r.weights == WeightFormat::f16 ? ComputeMode::f16 : half ? ComputeMode::bf16 : ComputeMode::f32;
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
    std::string_view targets = recipe.targets;
    while (!targets.empty()) {
      const std::string_view target = targets.substr(0, targets.find(','));
      r.lora_targets.emplace_back(target);
      targets.remove_prefix(std::min(targets.size(), target.size() + 1));
    }
  }
  r.optimizer = recipe.optimizer == OptimizerKind::sgd
                    ? (recipe.momentum > 0 ? EngineOptimizer::sgd_momentum_foreach : EngineOptimizer::sgd_foreach)
                    : EngineOptimizer::adamw_foreach;
  if (!options.optimizer.empty()) r.optimizer = look_up(kOptimizers, options.optimizer, "--engine-optimizer");
  const bool habit = recipe.recompute == RecomputeMode::automatic &&
                     stack_memory(run.engine).recompute == StackMemory::Recompute::full;
  r.recompute = habit || recipe.recompute == RecomputeMode::all ? RecomputeKind::full : RecomputeKind::none;
  r.seq_len = recipe.seq_len;
  r.micro_batch = recipe.micro_batch.value_or(1);
  read_layout(options.layout, run);
  const int64_t data = std::max<int64_t>(1, run.layout.data);
  r.grad_accum_steps =
      std::max<int64_t>(1, recipe.global_batch.value_or(r.micro_batch * data) / (r.micro_batch * data));
  run.nvme_rate = static_cast<double>(recipe.disk_rate.value_or(0));
  return run;
}

void require_known_engine(const std::string& engine) {
  if (!stack_memory(engine).stack.empty()) return;
  std::vector<std::string_view> names;
  for (const StackMemory& stack : all_stack_memory())
    if (!stack.stack.empty()) names.push_back(stack.stack);
  const std::string_view nearest = nearest_name(engine, names);
  throw caller_error("--engine " + one_line(engine, 40), "is no engine that is known here",
                     nearest.empty() ? fmt::format("one of {}", fmt::join(names, ", "))
                                     : fmt::format("did you mean {}? known are {}", nearest, fmt::join(names, ", ")));
}

namespace {

// The step on a device of the catalogue, and what the devices cost.
struct EngineStep {
  Catalog catalog;
  const Device* device = nullptr;
  EngineTime time;
  double usd_per_hour = 0;  // of all devices; 0: no price
};

std::optional<EngineStep> engine_step(const EngineRun& run, const EngineOptions& options) {
  if (options.device.empty()) {
    if (!options.trace.empty())
      throw caller_error("--trace", "needs a device to be fast on", "--device NAME, one of `plimsoll devices`");
    return std::nullopt;
  }
  EngineStep step;
  step.catalog = load_catalog(options.catalog);
  step.device = &require_device(step.catalog, options.device, "--device");
  TimeQuestion question;
  question.run = &run;
  question.device = step.device;
  question.habits = time_habits(run.engine);
  question.constants = load_time_constants();
  question.timeline = !options.trace.empty();
  step.time = estimate_engine_time(question);
  if (const DevicePrice* price = cheapest(step.catalog, step.device->name, PriceKind::on_demand))
    step.usd_per_hour = price->usd * static_cast<double>(run.layout.devices());
  if (!options.trace.empty()) write_file_atomically(options.trace, chrome_trace(step.time));
  return step;
}

std::string step_text(const EngineRun& run, const EngineStep& step) {
  const double tokens = step.time.tokens_per_second_per_device;
  std::string text =
      fmt::format("\n{} × {}: {} tokens a step, {} tokens/s on each\n", run.layout.devices(), step.device->name,
                  format_thousands(static_cast<int64_t>(step.time.tokens_per_step)), format_number(tokens));
  text += time_text(step.time);
  if (run.layout.offload_optimizer) text += "  the optimizer's arithmetic on the host isn't counted\n";
  if (step.usd_per_hour > 0)
    text +=
        fmt::format("  rented for {} USD an hour: {} USD for a billion tokens\n", format_usd(step.usd_per_hour),
                    format_usd(step.usd_per_hour * step.time.step_seconds / 3600 * 1e9 / step.time.tokens_per_step));
  return text;
}

Json step_json(const EngineStep& step) {
  Json made = time_json(step.time);
  made["device"] = step.device->name;
  made["tokens_per_step"] = step.time.tokens_per_step;
  made["usd_per_hour"] = step.usd_per_hour > 0 ? Json(step.usd_per_hour) : Json(nullptr);
  return made;
}

}  // namespace

int plan_on_engine(const Recipe& recipe, const EngineOptions& options, bool json) {
  require_known_engine(options.engine);
  const EngineRun run = engine_run(recipe, options);
  const EngineMemory memory = estimate_engine_memory(run);
  const std::optional<EngineStep> step = engine_step(run, options);
  std::optional<int64_t> line = recipe.memory_bytes;
  if (!line && step) line = step->device->memory_bytes;
  if (json) {
    Json document = json_of(recipe.model, run, memory, line);
    document["time"] = step ? step_json(*step) : Json(nullptr);
    write_json(document);
  } else {
    write_page(text_of(run, memory, line) + (step ? step_text(run, *step) : ""));
  }
  if (!line || memory.device_used.bytes <= *line) return 0;
  throw Error(
      ErrorKind::does_not_fit, options.engine,
      fmt::format("would use {} of a device with {}", format_bytes(memory.device_used.bytes), format_bytes(*line)),
      fmt::format("{}a smaller --micro-batch or --seq-len, {}or more devices (--layout)",
                  recipe.recompute == RecomputeMode::all ? "" : "recompute (--recompute all), ",
                  recipe.method == Method::full ? "adapters (--method lora or qlora), "
                  : run.recipe.method == TuneMethod::lora && !options.engine.empty()
                      ? "a base in 4 bits (--method qlora), "
                      : ""));
}

namespace {

ServingRun serving_run(const Recipe& recipe, const EngineOptions& options, int64_t line) {
  ServingRun run;
  run.engine = options.serve;
  run.model = open_model_source(recipe.model, ModelNeed::text).config;
  const std::string& type = options.weights;
  // llama.cpp and our own engine read GGUF files and keep them as they are packed.
  const bool takes_gguf = run.engine == "llama.cpp" || run.engine == "plimsoll";
  if (takes_gguf && find_gguf_file_type(type) != nullptr) {
    run.weights_bytes = gguf_weight_bytes(run.model, type, "--weights");
  } else if (!type.empty()) {
    run.weights =
        look_up(kWeights, type, "--weights", takes_gguf ? "; or a type of GGUF files: " + gguf_file_type_names() : "");
  }
  run.kv_bytes = options.kv.empty() ? 2.0 : look_up(kCached, options.kv, "--kv");
  EngineRun asked;
  asked.model = run.model;
  read_layout(options.layout, asked);
  run.tensor = asked.layout.tensor;
  run.device_bytes = line;
  run.context_tokens = recipe.seq_len;
  return run;
}

Json serving_json(const ServingRun& run, const ServingBytes& bytes) {
  return {{"engine", run.engine},
          {"devices", run.tensor},
          {"weights_bytes", bytes.weights},
          {"workspace_bytes", bytes.workspace},
          {"outside_bytes", bytes.outside},
          {"kv_bytes_per_token", bytes.kv_per_token},
          {"kv_bytes_per_user", bytes.kv_per_user},
          {"kv_room_bytes", bytes.room},
          {"most_users", bytes.most_users},
          {"least_device_bytes", bytes.least_device_bytes}};
}

std::string serving_text(const ServingRun& run, const ServingBytes& bytes) {
  const std::vector<Column> columns = {{"", true}, {""}, {"", true}};
  const std::vector<std::vector<std::string>> rows = {
      {"weights", format_bytes(bytes.weights), ""},
      {"workspace", format_bytes(bytes.workspace), ""},
      {"outside", format_bytes(bytes.outside), ""},
      {"keys and values", format_bytes(bytes.room),
       fmt::format("{} a token, {} a user with {} tokens", format_bytes(bytes.kv_per_token),
                   format_bytes(bytes.kv_per_user), format_thousands(run.context_tokens))},
      {"most users", format_thousands(bytes.most_users), ""}};
  return fmt::format("serving on {} ({} device{}): a prediction, not a plan of ours\n\n", run.engine, run.tensor,
                     run.tensor == 1 ? "" : "s, each") +
         table_text(columns, rows);
}

}  // namespace

int plan_serving(const Recipe& recipe, const EngineOptions& options, bool json) {
  std::optional<int64_t> line = recipe.memory_bytes;
  if (!line && !options.device.empty())
    line = require_device(load_catalog(options.catalog), options.device, "--device").memory_bytes;
  if (!line)
    throw caller_error("--memory", "is missing",
                       "give the memory of one device, for example --memory 80GiB, or a --device");
  const ServingRun run = serving_run(recipe, options, *line);
  const ServingBytes bytes = serving_bytes(run);
  if (json) write_json(serving_json(run, bytes));
  else write_page(serving_text(run, bytes));
  if (bytes.most_users > 0) return 0;
  throw Error(ErrorKind::does_not_fit, run.engine,
              fmt::format("not one user with {} tokens fits: {} of weights, {} of keys and values a user in {}",
                          format_thousands(run.context_tokens), format_bytes(bytes.weights),
                          format_bytes(bytes.kv_per_user), format_bytes(run.device_bytes)),
              fmt::format("--memory {} is the least that works; {}a shorter --seq-len, --kv q8_0, or more devices "
                          "(--layout tp=2)",
                          bytes.least_device_bytes,
                          run.weights_bytes > 0  ? "smaller weights (--weights), "
                          : run.engine == "vllm" ? "--weights gptq4, "
                                                 : "--weights q4_k_m, "));
}

}  // namespace plimsoll::cli
