#include "cli/predict/plan_engine.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/figures.h"
#include "base/table.h"
#include "base/text.h"
#include "cli/predict/engine_layout.h"
#include "cli/predict/engine_recipe.h"
#include "cli/predict/time_report.h"
#include "engines/engine_time.h"
#include "engines/layout/layout_rules.h"
#include "engines/serving_memory.h"
#include "engines/stack_memory.h"
#include "formats/gguf/gguf_file_type.h"
#include "formats/output_file.h"
#include "hub/model_source.h"

namespace plimsoll::cli {
namespace {

double cached_bytes(std::string_view kv) {
  if (kv.empty() || kv == "f16") return 2;
  if (kv == "fp8") return 1;
  if (kv == "q8_0") return 34.0 / 32;
  if (kv == "q4_0") return 18.0 / 32;
  throw caller_error("--kv", fmt::format("is {}", one_line(kv, 40)), "one of f16, fp8, q8_0, q4_0");
}

std::string interval_row(std::string_view name, const ByteInterval& figure) {
  return fmt::format("  {:<13}{:>12}   {} to {}\n", name, format_bytes(figure.bytes), format_bytes(figure.low),
                     format_bytes(figure.high));
}

Json interval_json(const ByteInterval& figure) {
  return {{"bytes", figure.bytes}, {"low", figure.low}, {"high", figure.high}};
}

// Against the device's memory: the figure decides, the interval says how sure that is.
std::string verdict(const ByteInterval& used, int64_t line) {
  const std::string of = fmt::format("of {}", format_bytes(line));
  if (used.high <= line) return fmt::format("fits: {} {} are left", format_bytes(line - used.bytes), of);
  if (used.bytes <= line)
    return fmt::format("may not fit: {} {} are left, but the interval goes to {}", format_bytes(line - used.bytes), of,
                       format_bytes(used.high));
  if (used.low <= line)
    return fmt::format("does not fit: {} {} are missing; the interval begins at {}", format_bytes(used.bytes - line),
                       of, format_bytes(used.low));
  return fmt::format("does not fit: {} {} are missing", format_bytes(used.bytes - line), of);
}

// A node of eight devices is usual.
int64_t ranks_of_node(const EngineRun& run) { return std::min<int64_t>(run.layout.devices(), 8); }

std::string text_of(const EngineRun& run, const EngineMemory& memory, const std::optional<int64_t>& line) {
  std::string text =
      fmt::format("{} on {} device{}: a prediction (profile {}), not a plan of ours\n\n", run.engine,
                  run.layout.devices(), run.layout.devices() == 1 ? "" : "s, the one with the most", memory.kind);
  text += fmt::format("  {}\n\n", recipe_text(run));
  text += interval_row("allocated", memory.allocated) + interval_row("reserved", memory.reserved) +
          interval_row("device used", memory.device_used);
  text +=
      fmt::format("\n  at the peak: {} parameters, {} gradients, {} optimizer state, {} activations and workspace\n",
                  format_bytes(memory.parameters), format_bytes(memory.gradients), format_bytes(memory.optimizer_state),
                  format_bytes(memory.activations));
  text += fmt::format("  peak: {}: {}\n", memory.peak_phase, memory.peak_op);
  for (const PhasePeak& phase : memory.phases)
    text += fmt::format("    {:<10}{:>12}\n", phase.name, format_bytes(phase.bytes));
  if (memory.host_bytes > 0) {
    text += fmt::format("  in host memory, of each rank: {}{}\n", format_bytes(memory.host_bytes),
                        memory.pinned_bytes > 0 ? fmt::format(" ({} pinned)", format_bytes(memory.pinned_bytes)) : "");
    if (const int64_t ranks = ranks_of_node(run); ranks > 1)
      text += fmt::format("  of a node with {} ranks: {}\n", ranks, format_bytes(ranks * memory.host_bytes));
  }
  if (memory.nvme_bytes > 0) text += fmt::format("  on NVMe, of each rank: {}\n", format_bytes(memory.nvme_bytes));
  if (!memory.note.empty()) text += fmt::format("  {}\n", memory.note);
  if (line) text += fmt::format("  {}\n", verdict(memory.device_used, *line));
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
          {"recipe", recipe_json(run)},
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
          {"host_bytes_of_node", ranks_of_node(run) * memory.host_bytes},
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
  run.recipe = engine_recipe(recipe, options);
  read_layout(options.layout, run);
  refuse_impossible_layout(run);
  // A pipeline is full with as many micro-batches as it has stages; twice that is usual.
  const EngineLayout& l = run.layout;
  const int64_t rows = run.recipe.micro_batch * std::max<int64_t>(1, l.data);
  const int64_t usual = l.pipeline > 1 ? 2 * l.pipeline * l.virtual_stages : 1;
  if (recipe.global_batch && *recipe.global_batch % rows != 0)
    throw caller_error(
        "--global-batch",
        fmt::format("is {}, not a multiple of {} data ranks × {} rows", *recipe.global_batch, l.data,
                    run.recipe.micro_batch),
        fmt::format("give {}, or leave it out for {}", (*recipe.global_batch / rows + 1) * rows, rows * usual));
  run.recipe.grad_accum_steps = recipe.global_batch ? *recipe.global_batch / rows : usual;
  if (recipe.disk_rate && l.offload_place != OffloadPlace::nvme)
    throw caller_error("--disk-rate", "is of NVMe, and nothing is offloaded to it",
                       "--layout zero=3,offload=all,offload_to=nvme, or leave it out");
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
  const ModelFiles model = open_model_source(recipe.model, ModelNeed::text);
  run.model = model.config;
  const std::string& type = options.weights;
  // llama.cpp and our own engine read GGUF files and keep them as they are packed.
  const bool takes_gguf = run.engine == "llama.cpp" || run.engine == "plimsoll";
  if (takes_gguf && type.empty() && model.kind == ModelFiles::Kind::gguf) {
    for (const TensorEntry& entry : model.tensors.entries) run.weights_bytes += entry.bytes;
  } else if (takes_gguf && find_gguf_file_type(type) != nullptr) {
    run.weights_bytes = gguf_weight_bytes(run.model, type, "--weights");
  } else if (!type.empty()) {
    run.weights = engine_weights(type, takes_gguf ? "; or a type of GGUF files: " + gguf_file_type_names() : "");
  }
  run.kv_bytes = cached_bytes(options.kv);
  run.tensor = read_serving_layout(options.layout);
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
