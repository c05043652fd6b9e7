#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "approaches/approach_cost.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/figures.h"
#include "base/table.h"
#include "base/text.h"
#include "cli/arguments/common_arguments.h"
#include "cli/commands.h"
#include "cli/predict/device_range.h"
#include "cli/text/output.h"
#include "config/model_catalog.h"
#include "hub/model_source.h"

namespace plimsoll::cli {
namespace {

struct ApproachOptions {
  std::string model, devices, reward = "model", method = "full", placement = "colocated", catalog;
  int64_t rank = 16, examples = 10'000, epochs = 1, batch = 64, group = 8, prompt = 512, output = 256,
          instructions = 2000;
  double calls = 1e6, price = 0;
  bool json = false;
};

ApproachQuestion question_of(const ApproachOptions& options, const Catalog& catalog) {
  ApproachQuestion question;
  const DeviceRange range = parse_device_range(options.devices, catalog);
  question.device = range.device;
  question.least_devices = range.least;
  question.most_devices = range.most;
  question.model = open_model_source(options.model, ModelNeed::config).config;
  if (options.reward == "model") question.reward_model = question.model;
  else if (options.reward != "program")
    question.reward_model = open_model_source(options.reward, ModelNeed::config).config;
  if (options.method == "lora") question.reinforcement = TuneMethod::lora;
  else if (options.method == "qlora") question.reinforcement = TuneMethod::qlora;
  else if (options.method != "full")
    throw caller_error("--method " + one_line(options.method, 40), "is no way to train", "full, lora or qlora");
  if (options.placement == "separate") question.placement = Placement::separate;
  else if (options.placement != "colocated")
    throw caller_error("--placement " + one_line(options.placement, 40), "is none", "colocated or separate");
  question.constants = load_time_constants();
  question.habits = time_habits("fsdp2");
  question.lora_rank = options.rank;
  question.examples = options.examples;
  question.epochs = options.epochs;
  question.batch = options.batch;
  question.group = options.group;
  question.prompt_tokens = options.prompt;
  question.answer_tokens = options.output;
  question.instruction_tokens = options.instructions;
  question.calls = options.calls;
  question.usd_per_device_hour = options.price;
  if (options.price <= 0)
    if (const DevicePrice* price = cheapest(catalog, question.device->name, PriceKind::on_demand))
      question.usd_per_device_hour = price->usd;
  return question;
}

// Beside our own devices: the cheapest hosted price for the same prompts and answers.
struct Hosted {
  const ApiPrice* price = nullptr;
  double usd_per_call = 0;  // with the instructions in every prompt
};
Hosted hosted_call(const Catalog& catalog, const ApproachOptions& options) {
  const CatalogModel* named = find_catalog_model(options.model);
  Hosted best;
  for (const ApiPrice& price : catalog.api_prices) {
    if (price.model != (named == nullptr ? options.model : std::string(named->name))) continue;
    const double usd = 1e-6 * (price.usd_input * static_cast<double>(options.prompt + options.instructions) +
                               price.usd_output * static_cast<double>(options.output));
    if (best.price == nullptr || usd < best.usd_per_call) best = {&price, usd};
  }
  return best;
}

Json or_null(double value) { return value > 0 ? Json(value) : Json(nullptr); }

Json plan_json(const ApproachPlan& plan, double calls) {
  Json models = Json::array(), phases = Json::array();
  for (const ResidentModel& model : plan.models)
    models.push_back({{"role", model.role},
                      {"parameters", model.parameters},
                      {"trained", model.trained},
                      {"weights_bytes", model.weights},
                      {"gradients_bytes", model.gradients},
                      {"optimizer_bytes", model.optimizer}});
  for (const ApproachPhase& phase : plan.phases)
    phases.push_back({{"name", phase.name}, {"bytes_per_device", phase.bytes}, {"seconds", phase.seconds}});
  return {
      {"name", plan.name},
      {"fits", plan.fits},
      {"what_stops", plan.what_stops},
      {"devices_needed", plan.devices_needed > 0 ? Json(plan.devices_needed) : Json(nullptr)},
      {"models", models},
      {"phases", phases},
      {"devices", plan.devices},
      {"generating_devices", plan.generators},
      {"generate_tensor", plan.generate_tensor},
      {"sequences_at_once", plan.concurrent},
      {"micro_batch", plan.micro_batch},
      {"recompute", plan.recompute},
      {"bytes_per_device", or_null(plan.peak_bytes)},
      {"steps", plan.steps},
      {"step_seconds", or_null(plan.step_seconds)},
      {"hours", plan.hours},
      {"usd_training", plan.usd},
      {"serve_devices", plan.serve_devices},
      {"usd_per_call", or_null(plan.usd_per_call)},
      {"usd_total", plan.fits && plan.usd_per_call > 0 ? Json(plan.usd + calls * plan.usd_per_call) : Json(nullptr)},
      {"calls_until_cheaper_than_prompt", plan.calls_even >= 0 ? Json(plan.calls_even) : Json(nullptr)}};
}

std::string model_text(const ResidentModel& model) {
  return fmt::format("{} {:.1f} GB{}", model.role, model.bytes() / 1e9, model.trained ? " trained" : "");
}

std::vector<std::string> row_of(const ApproachPlan& plan, const ApproachQuestion& question) {
  if (!plan.fits)
    return {plan.name,
            fmt::format("does not fit: {}{}", plan.what_stops,
                        plan.devices_needed > 0 ? fmt::format("; {} devices would do", plan.devices_needed) : "")};
  const bool trains = plan.steps > 0, money = question.usd_per_device_hour > 0;
  const bool answers = money && plan.serve_devices > 0;  // else no node holds the model
  return {
      plan.name,
      trains ? fmt::format("{}{}", plan.devices, plan.generators > 0 ? fmt::format("+{}", plan.generators) : "") : "-",
      fmt::format("{:.1f}", plan.peak_bytes / static_cast<double>(kGiB)),
      plan.hours > 0 ? format_seconds(plan.hours * 3600) : "-",
      trains && money ? format_usd(plan.usd) : "-",
      answers ? fmt::format("{:.3f}", 1000 * plan.usd_per_call) : "-",
      answers ? format_usd(plan.usd + question.calls * plan.usd_per_call) : "-",
      plan.calls_even >= 0 ? format_thousands(std::llround(plan.calls_even)) : "-"};
}

std::string approaches_text(const ApproachOptions& options, const ApproachQuestion& question,
                            const std::vector<ApproachPlan>& plans, const Hosted& hosted) {
  std::string text = fmt::format(
      "{} on {}: {} examples × {}, {} tokens asked and {} answered; {} instruction tokens where nothing is trained\n\n",
      options.model, question.device->name, format_thousands(question.examples), question.epochs,
      format_thousands(question.prompt_tokens), format_thousands(question.answer_tokens),
      format_thousands(question.instruction_tokens));
  const std::vector<Column> columns = {{"", true},
                                       {"devices\nto train"},
                                       {"GiB each\nat most"},
                                       {"training\ntakes"},
                                       {"training\nUSD"},
                                       {"USD, 1,000\ncalls"},
                                       {fmt::format("USD, {}\ncalls", format_count(question.calls))},
                                       {"pays after\ncalls"}};
  std::vector<std::vector<std::string>> rows;
  for (const ApproachPlan& plan : plans) rows.push_back(row_of(plan, question));
  text += table_text(columns, rows);
  if (std::any_of(plans.begin() + 1, plans.end(), [](const ApproachPlan& plan) { return !plan.fits; }))
    text +=
        "\n  Training is cut by ZeRO-3 over data parallelism alone. plimsoll search also cuts layers (tensor, "
        "pipeline) "
        "and may find fewer devices for full and LoRA.\n";
  text += "\n  in memory, of all devices together, and where a step's time goes:\n";
  for (const ApproachPlan& plan : plans) {
    if (!plan.fits || plan.steps == 0) continue;
    std::string models, phases;
    for (const ResidentModel& model : plan.models) models += (models.empty() ? "" : ", ") + model_text(model);
    for (const ApproachPhase& phase : plan.phases)
      phases += fmt::format("{}{} {:.1f} s ({:.1f} GiB each)", phases.empty() ? "" : ", ", phase.name, phase.seconds,
                            phase.bytes / static_cast<double>(kGiB));
    text += fmt::format("  {:<13}{}\n{:15}{}{}\n", plan.name, models, "", phases,
                        plan.concurrent > 0 ? fmt::format("; {} sequences at once on {} device{}", plan.concurrent,
                                                          plan.generate_tensor, plan.generate_tensor == 1 ? "" : "s")
                                            : "");
  }
  if (hosted.price != nullptr)
    text += fmt::format("\n  hosted by {} ({}), prompt only: {:.3f} USD per 1000 calls, {} for all\n",
                        hosted.price->provider, hosted.price->date, 1000 * hosted.usd_per_call,
                        format_usd(question.calls * hosted.usd_per_call));
  if (question.usd_per_device_hour <= 0)
    text += "\n  no price for this device is in the catalogue: --price USD, of one device and hour, adds the money\n";
  return text + "\n  Calls are counted at full load. What each reaches in quality only a trial tells: plimsoll eval.\n";
}

int run_approaches(const ApproachOptions& options) {
  const Catalog catalog = load_catalog(options.catalog);
  const ApproachQuestion question = question_of(options, catalog);
  const std::vector<ApproachPlan> plans = compare_approaches(question);
  const Hosted hosted = hosted_call(catalog, options);
  if (!options.json) {
    write_page(approaches_text(options, question, plans, hosted));
    return 0;
  }
  Json rows = Json::array();
  for (const ApproachPlan& plan : plans) rows.push_back(plan_json(plan, question.calls));
  write_json({{"kind", "approaches"},
              {"model", options.model},
              {"device", question.device->name},
              {"device_bytes", question.device->memory_bytes},
              {"usd_per_device_hour", or_null(question.usd_per_device_hour)},
              {"calls", question.calls},
              {"approaches", rows},
              {"hosted", hosted.price == nullptr ? Json(nullptr)
                                                 : Json({{"provider", hosted.price->provider},
                                                         {"date", hosted.price->date},
                                                         {"usd_per_call", hosted.usd_per_call}})}});
  return 0;
}

}  // namespace

Command approaches_command() {
  auto options = std::make_shared<ApproachOptions>();
  return {.name = "approaches",
          .summary = "prompt only, full, LoRA, DPO, GRPO, PPO side by side: bytes, time and money",
          .examples = {"plimsoll approaches llama-3.1-8b --devices h100-80g:1..16",
                       "plimsoll approaches qwen2.5-7b --devices a100-80g:8 --method lora --reward program --calls 5e6 "
                       "--json"},
          .arguments = {planned_model_argument(options->model),
                        {.name = "--devices",
                         .value_name = "NAME:FROM..TO",
                         .help = "a device of `plimsoll devices`, and how many may train",
                         .target = &options->devices,
                         .required = true},
                        number_argument("--examples", "N", "examples, prompts or pairs [10000]", options->examples, 1,
                                        1e12),
                        number_argument("--epochs", "N", "passes over them [1]", options->epochs, 1, 1e6),
                        number_argument("--batch", "N", "of them in a step [64]", options->batch, 1, 1e6),
                        number_argument("--prompt", "N", "tokens of a question [512]", options->prompt, 1, 1e7),
                        number_argument("--output", "N", "tokens of an answer [256]", options->output, 1, 1e7),
                        number_argument("--instructions", "N", "tokens that a prompt needs in place of training [2000]",
                                        options->instructions, 0, 1e7),
                        number_argument("--calls", "N", "answered afterwards [1e6]", options->calls, 0, 1e15),
                        number_argument("--group", "N", "answers to each prompt in GRPO [8]", options->group, 2, 1e4),
                        {.name = "--reward",
                         .value_name = "model|program|MODEL",
                         .help = "what judges answers: a model of the same size, a program, or that model [model]",
                         .target = &options->reward},
                        {.name = "--method",
                         .value_name = "full|lora|qlora",
                         .help = "what DPO, GRPO and PPO train [full]",
                         .target = &options->method},
                        number_argument("--rank", "N", "of LoRA [16]", options->rank, 1, 65536),
                        {.name = "--placement",
                         .value_name = "colocated|separate",
                         .help = "whether the devices that train also generate [colocated]",
                         .target = &options->placement},
                        device_price_argument(options->price),
                        catalog_argument(options->catalog)},
          .json = &options->json,
          .run = [options] { return run_approaches(*options); }};
}

}  // namespace plimsoll::cli
