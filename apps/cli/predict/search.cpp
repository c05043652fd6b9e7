#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>

#include "base/bytes.h"
#include "base/error.h"
#include "base/figures.h"
#include "base/table.h"
#include "base/text.h"
#include "base/words.h"
#include "cli/arguments/common_arguments.h"
#include "cli/commands.h"
#include "cli/predict/device_range.h"
#include "cli/predict/plan_engine.h"
#include "cli/predict/sequence_note.h"
#include "cli/predict/time_report.h"
#include "cli/predict/used_price.h"
#include "cli/text/output.h"
#include "formats/output_file.h"
#include "handover/handover.h"
#include "hub/model_source.h"
#include "search/layout_search.h"

namespace plimsoll::cli {
namespace {

struct SearchOptions {
  std::string model, devices, method = "full", base, targets, recompute, engine;
  std::string deadline, target, catalog, trace, price_kind = "on_demand";
  int64_t rank = 0, seq_len = 4096, global_batch = 0, micro_batch = 0;
  double tokens = 0, price = 0, price_max = 0;
  bool quick = false, json = false;
};

// "72h", "3d", "90m" → hours.
double parse_hours(const std::string& text) {
  if (!text.empty()) {
    const double unit = text.back() == 'h' ? 1 : text.back() == 'd' ? 24 : text.back() == 'm' ? 1.0 / 60 : 0;
    const auto value = parse_number(text.substr(0, text.size() - 1));
    if (unit > 0 && value && *value > 0) return *value * unit;
  }
  throw caller_error("--deadline " + one_line(text, 40), "is no time", "72h, 3d or 90m");
}

WeightFormat parse_base(const std::string& text) {
  if (text == "16bit") return WeightFormat::bf16;
  if (text == "8bit") return WeightFormat::int8;
  if (text == "4bit") return WeightFormat::nf4_double;
  throw caller_error("--base " + one_line(text, 40), "is no width of base weights", "16bit, 8bit or 4bit");
}

// What --for can start of this recipe: a stage of ZeRO that it refuses for it isn't looked at.
LayoutLimits limits_for(const SearchOptions& options, const ModelConfig& model,
                        const std::vector<std::string>& targets) {
  std::vector<std::string_view> names;
  for (const HandoverTarget& each : handover_targets()) names.push_back(each.name);
  if (std::find(names.begin(), names.end(), options.target) == names.end())
    throw caller_error("--for " + one_line(options.target, 40), "is no target of export",
                       fmt::format("one of {}", fmt::join(names, ", ")));
  LayoutLimits limits = handover_limits(options.target);
  HandoverPlan plan;
  plan.model = options.model;
  plan.method = options.method;
  plan.base = options.base;
  plan.rank = options.rank;
  plan.seq_len = options.seq_len;
  plan.targets = targets;
  plan.layers = model.layers;
  plan.config = model;
  std::optional<Error> refused;
  for (int stage = 0; stage < 4; ++stage) {
    bool& allowed = limits.zero[static_cast<size_t>(stage)];
    if (!allowed) continue;
    plan.zero_stage = stage;
    plan.data = stage > 0 ? 2 : 1;
    try {
      handover_config(plan, options.target);
    } catch (const Error& error) {
      allowed = false;
      if (!refused) refused = error;
    }
  }
  if (refused && std::none_of(limits.zero.begin(), limits.zero.end(), [](bool allowed) { return allowed; }))
    throw caller_error("--for " + options.target, refused->problem(), refused->way_out());
  return limits;
}

// The stack that a target of `export` configures; empty: it starts what it is given.
std::string target_engine(std::string_view target) {
  if (target == "accelerate-fsdp" || target == "axolotl") return "fsdp2";
  if (target == "llama-factory") return "deepspeed";
  for (const std::string_view same : {"deepspeed", "unsloth", "torchtune", "torchtitan", "megatron"})
    if (target == same) return std::string(same);
  return "";
}

SearchProblem problem_of(const SearchOptions& options, const Catalog& catalog) {
  SearchProblem problem;
  problem.base.engine = options.engine.empty() ? "megatron" : options.engine;
  require_known_engine(problem.base.engine);
  problem.base.model = open_model_source(options.model, ModelNeed::config).config;
  EngineRecipe& recipe = problem.base.recipe;
  recipe.seq_len = options.seq_len;
  recipe.optimizer = decltype(recipe.optimizer)::adamw_fused;
  if (options.method == "lora") {
    recipe.weights = parse_base(options.base);
    recipe.method = recipe.weights == WeightFormat::bf16 ? TuneMethod::lora : TuneMethod::qlora;
    recipe.lora_rank = options.rank;
    recipe.lora_targets = split_list(options.targets, ',');
  } else if (options.method != "full") {
    throw caller_error("--method " + one_line(options.method, 40), "is no way to train", "full, lora or qlora");
  } else if (options.base != "16bit") {
    throw caller_error("--base " + one_line(options.base, 40), "needs a base that stays as it is",
                       "--method lora --base " + one_line(options.base, 40));
  }
  const DeviceRange range = parse_device_range(options.devices, catalog);
  problem.device = range.device;
  problem.least_devices = range.least;
  problem.most_devices = range.most;
  problem.habits = time_habits(problem.base.engine);
  problem.constants = load_time_constants();
  problem.keep_batch = options.global_batch > 0;
  if (problem.keep_batch) problem.global_batch = options.global_batch;
  if (problem.keep_batch && options.micro_batch > options.global_batch)
    throw caller_error("--micro-batch", "is more than the sequences of a step", "a larger --global-batch");
  problem.tokens = options.tokens;
  if (!options.deadline.empty()) problem.deadline_hours = parse_hours(options.deadline);
  if (options.micro_batch > 0) problem.micro_batch = options.micro_batch;
  if (options.recompute == "none") problem.recompute = RecomputeKind::none;
  else if (options.recompute == "full") problem.recompute = RecomputeKind::full;
  else if (!options.recompute.empty())
    throw caller_error("--recompute " + one_line(options.recompute, 40), "is neither none nor full",
                       "leave it out to search both");
  problem.usd_per_device_hour = options.price;
  if (options.price <= 0) {
    if (options.price_kind != "spot" && options.price_kind != "on_demand")
      throw caller_error("--price-kind " + one_line(options.price_kind, 40), "is no kind of price",
                         "on_demand or spot");
    const PriceKind kind = options.price_kind == "spot" ? PriceKind::spot : PriceKind::on_demand;
    if (const DevicePrice* price = cheapest(catalog, problem.device->name, kind))
      problem.usd_per_device_hour = price->usd;
  }
  problem.confirm = !options.quick;
  if (!options.target.empty()) {
    problem.limits = limits_for(options, problem.base.model, recipe.lora_targets);
    if (options.engine.empty()) problem.profile_engine = target_engine(options.target);
  }
  problem.most_usd = options.price_max;
  if (problem.most_usd > 0 && problem.usd_per_device_hour <= 0)
    throw caller_error("--price-max", "the catalogue has no price for " + problem.device->name,
                       "give what a device costs an hour with --price");
  return problem;
}

Json plan_json(const LayoutPlan& plan) {
  const EngineLayout& layout = plan.layout;
  return {{"devices", plan.devices()},
          {"layout",
           {{"data", layout.data},
            {"tensor", layout.tensor},
            {"pipeline", layout.pipeline},
            {"context", layout.context},
            {"expert", layout.expert},
            {"virtual_stages", layout.virtual_stages},
            {"zero_stage", layout.zero_stage}}},
          {"micro_batch", plan.micro_batch},
          {"grad_accum_steps", plan.grad_accum_steps},
          {"rows_per_step", plan.rows_per_step()},
          {"recompute", plan.recompute == RecomputeKind::full ? "full" : "none"},
          {"bytes_per_device",
           {{"total", plan.bytes.total()},
            {"weights", plan.bytes.weights},
            {"gradients", plan.bytes.gradients},
            {"optimizer_state", plan.bytes.optimizer},
            {"activations", plan.bytes.activations},
            {"workspace", plan.bytes.workspace}}},
          {"engine_bytes_per_device", plan.engine_bytes ? Json({{"device_used", plan.engine_bytes->bytes},
                                                                {"low", plan.engine_bytes->low},
                                                                {"high", plan.engine_bytes->high}})
                                                        : Json(nullptr)},
          {"step_seconds", plan.step_seconds > 0 ? Json(plan.step_seconds) : Json(nullptr)},
          {"tokens_per_second", plan.tokens_per_second},
          {"hours", plan.hours},
          {"usd", plan.usd > 0 ? Json(plan.usd) : Json(nullptr)}};
}

std::vector<std::string> row_of(const SearchProblem& problem, const LayoutPlan& plan) {
  const auto gib = [](double bytes) { return fmt::format("{:.1f}", bytes / static_cast<double>(kGiB)); };
  const int64_t rows = plan.rows_per_step();
  return {layout_text(plan) + (rows == problem.global_batch ? "" : fmt::format(" = {}", format_thousands(rows))),
          format_thousands(plan.devices()),
          format_number(plan.step_seconds),
          format_number(plan.tokens_per_second),
          format_seconds(plan.hours * 3600),
          plan.usd > 0 ? format_usd(plan.usd) : "-",
          gib(plan.bytes.total()),
          plan.engine_bytes ? gib(static_cast<double>(plan.engine_bytes->bytes)) : "-"};
}

// What is trained how: what was not said is as usual.
std::string recipe_text(const SearchOptions& options, const SearchProblem& problem) {
  const std::string method = options.method == "full" ? "all weights" : fmt::format("LoRA r={}", options.rank);
  return fmt::format("{}: {}, base in {}, rows of {} tokens, {} a step{}\n", options.model, method, options.base,
                     format_thousands(options.seq_len), format_thousands(problem.global_batch),
                     options.tokens > 0 ? "" : "; time and USD are of one step (--tokens N: of a run)");
}

// What of the least is certain, and what is.
std::string interval_text(const SearchProblem& problem, const LayoutSearch& found) {
  const auto gib = [](int64_t bytes) { return static_cast<double>(bytes) / static_cast<double>(kGiB); };
  const ByteInterval& bytes = *found.least->engine_bytes;
  const double limit = gib(problem.device->memory_bytes);
  std::string text = fmt::format("  it needs {:.1f} GiB of {:.1f}, 9 of 10 such runs between {:.1f} and {:.1f}\n",
                                 gib(bytes.bytes), limit, gib(bytes.low), gib(bytes.high));
  if (bytes.high <= problem.device->memory_bytes) return text;
  if (!found.sure) return text + "  on none of these numbers of devices all of that fits\n";
  const bool same = found.sure->devices() == found.least->devices();
  return text + fmt::format("  surely enough, {:.1f} GiB at most: {}{}\n", gib(found.sure->engine_bytes->high),
                            same ? "" : fmt::format("{} devices: ", found.sure->devices()), layout_text(*found.sure));
}

std::string search_text(const SearchProblem& problem, const LayoutSearch& found, const EngineTime* time,
                        double seconds) {
  const std::string count = problem.least_devices == problem.most_devices
                                ? format_thousands(problem.most_devices)
                                : fmt::format("{} to {}", problem.least_devices, problem.most_devices);
  std::string text =
      fmt::format("{} layouts looked at on {} {}, {} fit ({:.2f} s)\n\n", format_thousands(found.layouts), count,
                  problem.device->name, format_thousands(found.fitting), seconds);
  if (!found.least) return text + "none works\n";
  text += fmt::format("least that works: {} device{}: {}\n", found.least->devices(),
                      found.least->devices() == 1 ? "" : "s", layout_text(*found.least));
  if (found.least->engine_bytes) text += interval_text(problem, found);
  if (!found.what_stops.empty()) text += "one fewer: " + found.what_stops + "\n";
  if (found.by_bytes && found.by_bytes->devices() < found.least->devices())
    text += fmt::format("by bytes alone: {} devices, in {}{}\n", found.by_bytes->devices(),
                        format_seconds(3600 * found.by_bytes->hours),
                        found.by_bytes->usd > 0 ? fmt::format(" and for {} USD", format_usd(found.by_bytes->usd)) : "");
  if (found.confirmed > 0)
    text += fmt::format("the engine profile was asked about {} plan{} and refused {}\n", found.confirmed,
                        found.confirmed == 1 ? "" : "s", found.overruled);
  const bool more_rows = std::any_of(found.pareto.begin(), found.pareto.end(), [&](const LayoutPlan& plan) {
    return plan.rows_per_step() != problem.global_batch;
  });
  const std::vector<Column> columns = {
      {more_rows ? "layout,\nrows × times = rows a step" : "layout,\nrows × times", true},
      {"devices"},
      {"step s"},
      {"tokens/s"},
      {problem.tokens > 0 ? "run" : "step"},
      {"USD"},
      {"GiB each"},
      {"engine"}};
  std::vector<std::vector<std::string>> rows;
  for (const LayoutPlan& plan : found.pareto) rows.push_back(row_of(problem, plan));
  text += "\n" + table_text(columns, rows, 0);
  if (time != nullptr) text += "\nthe fastest of these: " + time_text(*time);
  const bool cut = std::any_of(found.pareto.begin(), found.pareto.end(), [](const LayoutPlan& plan) {
    return plan.layout.tensor > 1 || plan.layout.pipeline > 1;
  });
  if (cut && problem.base.recipe.method == TuneMethod::qlora)
    text +=
        "\na base in few bits over tensor or pipeline ranks: arithmetic, no stack of `export` starts it; --for "
        "axolotl, "
        "llama-factory, … looks only at what is started\n";
  if (problem.usd_per_device_hour <= 0)
    text += "\nno price for this device is in the catalogue: --price USD, of one device and hour, adds the money\n";
  return text;
}

Json search_json(const SearchOptions& options, const SearchProblem& problem, const LayoutSearch& found,
                 const EngineTime* time, double seconds) {
  Json pareto = Json::array(), best = Json::array();
  for (const LayoutPlan& plan : found.pareto) pareto.push_back(plan_json(plan));
  for (const LayoutPlan& plan : found.best) best.push_back(plan_json(plan));
  return {{"kind", "search"},
          {"model", options.model},
          {"recipe",
           {{"method", options.method},
            {"base", options.base},
            {"rank", options.rank},
            {"targets", options.targets},
            {"seq_len", options.seq_len},
            {"global_batch", problem.global_batch}}},
          {"node_devices", fabric_of(*problem.device, problem.constants).node_devices},
          {"layers", problem.base.model.layers},
          {"device", problem.device->name},
          {"device_bytes", problem.device->memory_bytes},
          {"usd_per_device_hour", problem.usd_per_device_hour > 0 ? Json(problem.usd_per_device_hour) : Json(nullptr)},
          {"layouts", found.layouts},
          {"fitting", found.fitting},
          {"confirmed", found.confirmed},
          {"overruled", found.overruled},
          {"seconds", seconds},
          {"least", found.least ? plan_json(*found.least) : Json(nullptr)},
          {"least_sure", found.sure ? plan_json(*found.sure) : Json(nullptr)},
          {"one_fewer", found.what_stops},
          {"least_by_bytes", found.by_bytes ? plan_json(*found.by_bytes) : Json(nullptr)},
          {"nearest", found.nearest ? plan_json(*found.nearest) : Json(nullptr)},
          {"pareto", pareto},
          {"best", best},
          {"fastest", time != nullptr ? time_json(*time) : Json(nullptr)}};
}

// Of the fastest on the front, with its timeline in a file where --trace asks for it.
std::optional<EngineTime> fastest_time(const SearchOptions& options, const SearchProblem& problem,
                                       const LayoutSearch& found) {
  if (found.pareto.empty()) return std::nullopt;
  const LayoutPlan& fastest = *std::max_element(
      found.pareto.begin(), found.pareto.end(),
      [](const LayoutPlan& a, const LayoutPlan& b) { return a.tokens_per_second < b.tokens_per_second; });
  const EngineRun run = run_of(problem, fastest);
  TimeQuestion question;
  question.run = &run;
  question.device = problem.device;
  question.habits = problem.habits;
  question.constants = problem.constants;
  question.timeline = !options.trace.empty();
  EngineTime time = estimate_engine_time(question);
  if (!options.trace.empty()) write_file_atomically(options.trace, chrome_trace(time));
  return time;
}

// What was not said is as usual; what would count for nothing is refused.
// QLoRA is LoRA on a base in four bits, unless another width is asked for.
SearchOptions with_base(SearchOptions options) {
  if (options.method == "qlora") {
    if (options.base == "16bit")
      throw caller_error("--base 16bit", "is not quantized", "--method lora, or --base 4bit or 8bit");
    options.method = "lora";
    if (options.base.empty()) options.base = "4bit";
  }
  if (options.method == "full" && (options.rank > 0 || !options.targets.empty()))
    throw caller_error(options.rank > 0 ? "--rank" : "--targets", "is of adapters, and all weights are trained",
                       "--method lora or qlora, or leave it out");
  if (options.base.empty()) options.base = "16bit";
  if (options.rank <= 0) options.rank = 16;
  if (options.targets.empty()) options.targets = "all-linear";
  return options;
}

int run_search(const SearchOptions& asked) {
  const SearchOptions options = with_base(asked);
  const Catalog catalog = load_catalog(options.catalog);
  const SearchProblem problem = problem_of(options, catalog);
  const auto start = std::chrono::steady_clock::now();
  note_long_sequences(problem.base.model, options.seq_len, "rows have");
  const LayoutSearch found = search_layouts(problem);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const std::optional<EngineTime> time = fastest_time(options, problem, found);
  const EngineTime* fastest = time ? &*time : nullptr;
  if (options.json) write_json(search_json(options, problem, found, fastest, seconds));
  else
    write_page(recipe_text(options, problem) + search_text(problem, found, fastest, seconds) +
               used_price_text(used_price(catalog, problem.device->name,
                                          options.price_kind == "spot" ? PriceKind::spot : PriceKind::on_demand,
                                          options.price)));
  if (found.least) return 0;
  // Only what may help: not what is so already.
  std::string ways = "more devices, ";
  if (options.method == "full") ways += "--method lora, ";
  else if (options.base != "4bit") ways += "--base 4bit, ";
  if (!options.deadline.empty()) ways += "a later --deadline, ";
  if (options.price_max > 0) ways += "a higher --price-max, ";
  ways +=
      "or a shorter --seq-len; offload is not searched: plan --engine deepspeed --layout zero=3,offload=all,… answers "
      "for it";
  throw Error(ErrorKind::does_not_fit, options.devices, found.what_stops.empty() ? "no layout works" : found.what_stops,
              ways);
}

}  // namespace

Command search_command() {
  auto options = std::make_shared<SearchOptions>();
  return {
      .name = "search",
      .summary = "every layout on every number of devices: what fits, how long, for how much",
      .examples =
          {"plimsoll search llama-3.1-70b --devices h100-80g:1..64 --tokens 1e9 --deadline 72h",
           "plimsoll search llama-3.1-405b --devices h100-80g:8..16 --method lora --rank 16 --base 4bit --json"},
      .arguments = {planned_model_argument(options->model),
                    {.name = "--devices",
                     .value_name = "NAME:FROM..TO",
                     .help = "a device of `plimsoll devices`, and how many",
                     .target = &options->devices,
                     .required = true},
                    {.name = "--method",
                     .value_name = "full|lora|qlora",
                     .help = "what is trained [full]",
                     .target = &options->method},
                    {.name = "--base",
                     .value_name = "16bit|8bit|4bit",
                     .help = "how the base weights of adapters are stored [16bit; qlora: 4bit]",
                     .target = &options->base},
                    number_argument("--rank", "N", "of LoRA [16]", options->rank, 1, 65536),
                    {.name = "--targets",
                     .value_name = "NAMES",
                     .help = "what LoRA adapts [all-linear]",
                     .target = &options->targets},
                    number_argument("--seq-len", "N", "tokens of a sequence [4096]", options->seq_len, 1, 1 << 24),
                    number_argument("--global-batch", "N",
                                    "sequences of a step; more only to divide evenly [32, or one for each data rank]",
                                    options->global_batch, 1, 1 << 24),
                    number_argument("--micro-batch", "N", "only this one; else all are searched", options->micro_batch,
                                    1, 1 << 16),
                    {.name = "--recompute",
                     .value_name = "none|full",
                     .help = "only this; else both are searched",
                     .target = &options->recompute},
                    {.name = "--for",
                     .value_name = "TARGET",
                     .help = "only layouts that this engine can start (the targets of `plimsoll export`)",
                     .target = &options->target},
                    {.name = "--quick",
                     .value_name = "",
                     .help = "closed forms only: the engine profiles are not asked about the winners",
                     .target = &options->quick},
                    number_argument("--tokens", "N", "of the whole run, as 1e9; without it one step is counted",
                                    options->tokens, 1, 1e18),
                    {.name = "--deadline",
                     .value_name = "72h",
                     .help = "the run may take no longer",
                     .target = &options->deadline},
                    device_price_argument(options->price),
                    {.name = "--price-kind",
                     .value_name = "on_demand|spot",
                     .help = "which of the catalogue's prices [on_demand]",
                     .target = &options->price_kind},
                    number_argument("--price-max", "USD", "the run may cost no more", options->price_max, 0.01, 1e12),
                    {.name = "--engine",
                     .value_name = "NAME",
                     .help = "the stack whose speed and memory count [megatron; with --for its memory]",
                     .target = &options->engine},
                    {.name = "--trace",
                     .value_name = "FILE.json",
                     .help = "write the fastest plan's timeline as a Chrome trace",
                     .target = &options->trace},
                    catalog_argument(options->catalog)},
      .json = &options->json,
      .run = [options] { return run_search(*options); }};
}

}  // namespace plimsoll::cli
