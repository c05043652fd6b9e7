#include <fmt/format.h>

#include <memory>

#include "base/bytes.h"
#include "base/figures.h"
#include "base/table.h"
#include "base/text.h"
#include "cli/arguments/common_arguments.h"
#include "cli/commands.h"
#include "cli/predict/serve_report.h"
#include "cli/text/output.h"

namespace plimsoll::cli {
namespace {

Json percentiles_json(const Percentiles& p) { return {{"p50", p.p50}, {"p95", p.p95}, {"p99", p.p99}}; }

Json serve_json(const ServeOptions& options, const ServeReport& report) {
  const Answer& answer = report.answer;
  const ServingResult& one = answer.result;
  const auto replicas = static_cast<double>(answer.replicas);
  Json others = Json::array();
  for (const Alternative& each : report.alternatives)
    others.push_back(
        {{"devices", each.devices()},
         {"replicas", each.replicas},
         {"tensor", each.tensor},
         {"first_token_seconds", percentiles_json(each.result.first_token_seconds)},
         {"between_tokens_seconds", percentiles_json(each.result.between_tokens_seconds)},
         {"output_tokens_per_second", each.result.output_tokens_per_second * static_cast<double>(each.replicas)},
         {"usd_per_million_output", report.price > 0 ? Json(report.usd_per_million(each)) : Json(nullptr)}});
  Json api_rows = Json::array();
  for (const ApiComparison& row : report.apis)
    api_rows.push_back({{"provider", row.price.provider},
                        {"usd_input_per_million", row.price.usd_input},
                        {"usd_output_per_million", row.price.usd_output},
                        {"usd_per_hour", row.usd_per_hour},
                        {"times_ours", row.times_ours > 0 ? Json(row.times_ours) : Json(nullptr)},
                        {"date", row.price.date}});
  return {{"kind", "serve-plan"},
          {"model", options.model},
          {"device", report.device},
          {"devices", answer.devices()},
          {"replicas", answer.replicas},
          {"tensor", answer.model.setup.tensor},
          {"weights_bytes_per_device", answer.model.weights_device_bytes},
          {"cache_bytes_per_device", static_cast<double>(answer.model.cache_tokens) * answer.model.kv_token_bytes},
          {"workspace_bytes_per_device", answer.model.workspace_bytes},
          {"device_bytes", report.device_bytes},
          {"cache_tokens_per_replica", answer.model.cache_tokens},
          {"first_token_seconds", percentiles_json(one.first_token_seconds)},
          {"between_tokens_seconds", percentiles_json(one.between_tokens_seconds)},
          {"output_tokens_per_second", report.output_rate},
          {"total_tokens_per_second", report.total_rate},
          {"requests_per_second", one.requests_per_second * replicas},
          {"mean_decoding_per_replica", one.mean_decoding},
          {"peak_cache_share", one.peak_cache_share},
          {"preemptions", one.preemptions},
          {"keeps_up", one.keeps_up},
          {"most_users_per_replica", answer.most_users ? Json(*answer.most_users) : Json(nullptr)},
          {"usd_per_device_hour", report.price > 0 ? Json(report.price) : Json(nullptr)},
          {"price_source", report.price > 0 ? Json(report.price_source) : Json(nullptr)},
          {"usd_per_million_output", report.price > 0 ? Json(report.money.usd_per_million_output) : Json(nullptr)},
          {"usd_per_million_total", report.price > 0 ? Json(report.money.usd_per_million_total) : Json(nullptr)},
          {"room_for_all", others},
          {"api", api_rows},
          {"buy_usd_per_device", report.buy_usd > 0 ? Json(report.buy_usd) : Json(nullptr)},
          {"break_even_hours", report.break_even_hours ? Json(*report.break_even_hours) : Json(nullptr)}};
}

std::string alternatives_text(const ServeReport& report) {
  const std::vector<Alternative>& all = report.alternatives;
  if (all.empty() || (all.size() == 1 && all[0].devices() == report.answer.devices())) return "";
  const std::vector<Column> columns = {{"replicas", true}, {"devices"},  {"first ms p95"},
                                       {"next p95"},       {"tokens/s"}, {"USD/M written"}};
  std::vector<std::vector<std::string>> rows;
  for (const Alternative& each : all)
    rows.push_back({fmt::format("{} of {}", each.replicas, each.tensor), format_thousands(each.devices()),
                    format_number(1e3 * each.result.first_token_seconds.p95),
                    format_number(1e3 * each.result.between_tokens_seconds.p95),
                    format_number(each.result.output_tokens_per_second * static_cast<double>(each.replicas)),
                    report.price > 0 ? fmt::format("{:.3f}", report.usd_per_million(each)) : "-"});
  return "\n  with room for everybody at once:\n" + table_text(columns, rows);
}

std::string money_text(const ServeOptions& options, const ServeReport& report) {
  if (report.price <= 0)
    return "\n  no price for this device is in the catalogue: --price USD, of one device and hour, adds the money\n";
  std::string text = fmt::format(
      "\n  {:.2f} USD/h ({:.2f} a device, {}): {:.3f} USD per million written tokens, {:.3f} per million "
      "of all\n",
      report.money.usd_per_hour, report.price, report.price_source, report.money.usd_per_million_output,
      report.money.usd_per_million_total);
  std::vector<std::vector<std::string>> rows;
  for (const ApiComparison& row : report.apis)
    rows.push_back({row.price.provider, fmt::format("{:.2f}", row.price.usd_input),
                    fmt::format("{:.2f}", row.price.usd_output), format_usd(row.usd_per_hour),
                    fmt::format("{:.2f} ×", row.times_ours)});
  const std::vector<Column> columns = {
      {"the same tokens, hosted by", true}, {"USD/M in"}, {"USD/M out"}, {"USD/h"}, {"of ours"}};
  if (!rows.empty()) text += "\n" + table_text(columns, rows);
  if (report.break_even_hours)
    text += fmt::format(
        "  bought for {} USD a device (without the machine round it), it is cheaper than rented after {} days at "
        "{:.0f} % "
        "use\n",
        format_usd(report.buy_usd), format_number(*report.break_even_hours / 24), 100 * options.utilisation);
  else if (report.buy_usd > 0) text += "  bought, it never gets cheaper than rented at this use\n";
  return text;
}

// Without a target, on the least devices: longer for a first token than for the rest of a usual answer.
bool waits_in_line(const ServeOptions& options, const ServingResult& result) {
  return options.users > 0 && options.target_first <= 0 && options.target_between <= 0 &&
         result.first_token_seconds.p50 > static_cast<double>(options.output) * result.between_tokens_seconds.p50;
}

std::string serve_text(const ServeOptions& options, const ServeReport& report) {
  const Answer& answer = report.answer;
  const ServingResult& one = answer.result;
  const auto replicas = static_cast<double>(answer.replicas);
  const auto line = [](std::string_view name, const Percentiles& p, double unit) {
    return fmt::format("  {:<22}{:>12.1f}{:>12.1f}{:>12.1f}\n", name, p.p50 * unit, p.p95 * unit, p.p99 * unit);
  };
  std::string text =
      fmt::format("{} on {} × {}: {} replica{} of {}\n\n  weights {} a device, cache for {} tokens a replica\n\n",
                  options.model, answer.devices(), report.device, answer.replicas, answer.replicas == 1 ? "" : "s",
                  answer.model.setup.tensor, format_bytes(static_cast<int64_t>(answer.model.weights_device_bytes)),
                  format_thousands(answer.model.cache_tokens));
  text += fmt::format("  {:<22}{:>12}{:>12}{:>12}\n", "milliseconds", "p50", "p95", "p99");
  text += line("to the first token", one.first_token_seconds, 1e3);
  text += line("between tokens", one.between_tokens_seconds, 1e3);
  text += fmt::format(
      "\n  {} tokens/s written, {} with prompts, {} requests/s; {:.0f} answered at once, cache "
      "{:.0f} % full at most, {} thrown out\n",
      format_number(report.output_rate), format_number(report.total_rate),
      format_number(one.requests_per_second * replicas), one.mean_decoding * replicas, 100 * one.peak_cache_share,
      one.preemptions);
  if (!one.keeps_up) text += "  it does not keep up: the queue grows\n";
  else if (waits_in_line(options, one))
    text += fmt::format("  users wait in line: this is the least that holds the model, not what {} users need; {}\n",
                        format_thousands(options.users),
                        report.alternatives.empty() ? "--target-first S finds that" : "the table has that");
  text += alternatives_text(report);
  if (answer.most_users) text += fmt::format("  most users of one replica within the target: {}\n", *answer.most_users);
  return text + money_text(options, report);
}

int run_serve_plan(const ServeOptions& options) {
  const ServeReport report = serve_report(options);
  if (options.json) write_json(serve_json(options, report));
  else write_page(serve_text(options, report));
  return 0;
}

}  // namespace

Command serve_plan_command() {
  auto options = std::make_shared<ServeOptions>();
  return {
      .name = "serve-plan",
      .summary = "latency, throughput and money of serving a model, simulated pass by pass",
      .examples =
          {"plimsoll serve-plan llama-3.3-70b --device h100-80g --weights 8bit --users 50 --prompt 5000 --output 500 "
           "--target-first 2",
           "plimsoll serve-plan llama-3.1-8b --device l40s --rate 4 --prompt 1000 --output 300 --target-first 1 "
           "--target-between 0.05 --json"},
      .arguments =
          {planned_model_argument(options->model),
           {.name = "--device",
            .value_name = "NAME",
            .help = "of `plimsoll devices`",
            .target = &options->device,
            .required = true},
           number_argument("--tensor", "N",
                           "devices of a replica [the least power of two that holds the model and a request; with a "
                           "target the cheapest that keeps it]",
                           options->tensor, 1, 4096),
           number_argument("--users", "N", "each asks again as soon as it is answered", options->users, 1, 1e6),
           {.name = "--together",
            .value_name = "",
            .help = "all users ask first at the same time, as benchmarks do; else spread at random over one answer",
            .target = &options->together},
           number_argument("--rate", "R", "instead of users: requests a second, at random times", options->rate, 1e-6,
                           1e6),
           number_argument("--prompt", "N", "tokens of a prompt [512]", options->prompt, 1, 1e8),
           number_argument("--output", "N", "tokens of an answer [256]", options->output, 1, 1e8),
           number_argument("--spread", "S", "lengths vary evenly by this share around both [0]", options->spread, 0, 1),
           number_argument("--at-once", "N",
                           "most requests that one pass answers [as vLLM: 1024 on devices of 70 GiB and more with "
                           "8-bit products, else 256]",
                           options->at_once, 1, 65536),
           {.name = "--weights", .value_name = "16bit|8bit|4bit", .help = "[16bit]", .target = &options->weights},
           {.name = "--kv", .value_name = "16bit|8bit", .help = "of the cache [16bit]", .target = &options->kv},
           number_argument("--target-first", "S", "seconds to the first token that 95 of 100 requests must keep",
                           options->target_first, 1e-6, 1e6),
           number_argument("--target-between", "S", "seconds between tokens, the same", options->target_between, 1e-6,
                           1e6),
           device_price_argument(options->price),
           number_argument("--buy-price", "USD", "of one device [the catalogue's]", options->buy_price, 0.01, 1e9),
           number_argument("--power-price", "USD", "of a kWh [0.15]", options->power_price, 0, 100),
           number_argument("--utilisation", "SHARE", "of the hours that a bought device is used [1]",
                           options->utilisation, 0.001, 1),
           number_argument("--seed", "N", "of arrivals, starts of users and lengths [0]", options->seed, 0, 1e15),
           catalog_argument(options->catalog)},
      .json = &options->json,
      .run = [options] { return run_serve_plan(*options); }};
}

}  // namespace plimsoll::cli
