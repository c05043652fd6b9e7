#include <fmt/format.h>

#include <memory>
#include <optional>

#include "base/bytes.h"
#include "base/error.h"
#include "base/figures.h"
#include "base/table.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/text/output.h"
#include "config/model_catalog.h"
#include "hub/model_source.h"
#include "serve/serving_cost.h"
#include "serve/serving_simulation.h"

namespace plimsoll::cli {
namespace {

struct ServeOptions {
  std::string model, device, weights = "16bit", kv = "16bit", catalog;
  int64_t tensor = 0, users = 0, prompt = 512, output = 256, seed = 0;
  double rate = 0, spread = 0, price = 0, target_first = 0, target_between = 0, buy_price = 0, power_price = 0.15,
         utilisation = 1;
  bool json = false;
};

double width_bytes(const std::string& text, std::string_view flag) {
  if (text == "16bit") return 2;
  if (text == "8bit") return 1;
  if (text == "4bit") return 0.56;
  throw caller_error(fmt::format("{} {}", flag, one_line(text, 40)), "is no width", "16bit, 8bit or 4bit");
}

// The least tensor parallelism whose devices hold the model, or the one that was asked for.
ServingModel fitting_model(ServingSetup setup, int64_t asked) {
  if (asked > 0) {
    setup.tensor = asked;
    return serving_model(setup);
  }
  const Fabric fabric = fabric_of(*setup.device, setup.constants);
  for (setup.tensor = 1; setup.tensor <= fabric.node_devices; setup.tensor *= 2) {
    try {
      return serving_model(setup);
    } catch (const Error&) {
      if (setup.tensor * 2 > fabric.node_devices) throw;
    }
  }
  return serving_model(setup);
}

struct Answer {
  ServingModel model;
  ServingResult result;
  int64_t replicas = 1;
  std::optional<int64_t> most_users;
  int64_t devices() const { return replicas * model.setup.tensor; }
};

bool meets(const ServingResult& result, const ServeOptions& options) {
  return result.keeps_up && (options.target_first <= 0 || result.first_token_seconds.p95 <= options.target_first) &&
         (options.target_between <= 0 || result.between_tokens_seconds.p95 <= options.target_between);
}

Traffic traffic_of(const ServeOptions& options, int64_t replicas) {
  Traffic traffic;
  traffic.users = ceil_div(options.users, replicas);
  traffic.rate = options.users > 0 ? 0 : options.rate / static_cast<double>(replicas);
  traffic.prompt_tokens = options.prompt;
  traffic.output_tokens = options.output;
  traffic.spread = options.spread;
  traffic.seed = static_cast<uint64_t>(options.seed);
  return traffic;
}

// Replicas until the target is met; the most users of one replica by halving.
Answer answer_of(const ServeOptions& options, const ServingModel& model) {
  constexpr int64_t kMostReplicas = 1024, kMostUsers = 4096;
  Answer answer;
  answer.model = model;
  const bool has_target = options.target_first > 0 || options.target_between > 0;
  for (int64_t replicas = 1;; replicas = replicas < 8 ? replicas + 1 : replicas + replicas / 4) {
    answer.replicas = replicas;
    answer.result = simulate_serving(model, traffic_of(options, replicas));
    if (meets(answer.result, options) || (options.users > 0 && !has_target)) break;
    if (replicas >= kMostReplicas || (options.users > 0 && replicas >= options.users))
      throw Error(
          ErrorKind::does_not_fit, "target",
          fmt::format("even {} replicas answer with {:.2f} s to the first token and {:.3f} s between tokens (p95)",
                      replicas, answer.result.first_token_seconds.p95, answer.result.between_tokens_seconds.p95),
          "a faster device, more of them a replica with --tensor, smaller weights, or a looser target");
  }
  if (!has_target) return answer;
  ServeOptions probe = options;
  int64_t low = 0, high = 1;
  const auto good = [&](int64_t users) {
    probe.users = users;
    return meets(simulate_serving(model, traffic_of(probe, 1)), options);
  };
  while (high <= kMostUsers && good(high)) low = high, high *= 2;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (good(middle) ? low : high) = middle;
  }
  answer.most_users = low;
  return answer;
}

// Another number of devices on which nobody waits for room: the cache holds all users at once.
struct Alternative {
  int64_t tensor = 1, replicas = 1;
  ServingResult result;
  int64_t devices() const { return tensor * replicas; }
};

std::vector<Alternative> alternatives_of(const ServeOptions& options, const ServingModel& smallest) {
  constexpr int64_t kMostReplicas = 4096;
  constexpr double kAnswered = 0.7;  // of the users, at once; the rest have their prompts read
  std::vector<Alternative> found;
  const Fabric fabric = fabric_of(*smallest.setup.device, smallest.setup.constants);
  for (int64_t tensor = smallest.setup.tensor; tensor <= fabric.node_devices && found.size() < 3; tensor *= 2) {
    ServingSetup setup = smallest.setup;
    setup.tensor = tensor;
    const ServingModel model = serving_model(setup);
    const auto waits = [&](const ServingResult& result, int64_t replicas) {
      return result.preemptions > 0 ||
             result.mean_decoding < kAnswered * static_cast<double>(ceil_div(options.users, replicas));
    };
    int64_t low = 0, high = 1;
    ServingResult good;
    while (high <= kMostReplicas && waits(good = simulate_serving(model, traffic_of(options, high)), high)) {
      low = high;
      if (high >= options.users) break;
      high = std::min(2 * high, options.users);
    }
    if (waits(good, high)) continue;
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      const ServingResult result = simulate_serving(model, traffic_of(options, middle));
      if (waits(result, middle)) low = middle;
      else high = middle, good = result;
    }
    found.push_back({tensor, high, good});
  }
  return found;
}

Json percentiles_json(const Percentiles& p) { return {{"p50", p.p50}, {"p95", p.p95}, {"p99", p.p99}}; }

int run_serve_plan(const ServeOptions& options) {
  if (options.users <= 0 && options.rate <= 0)
    throw caller_error("--users or --rate", "is missing",
                       "--users 32 (each asks again when answered), or --rate 2 a second");
  const Catalog catalog = load_catalog(options.catalog);
  const ModelConfig config = open_model_source(options.model, ModelNeed::config).config;
  const ModelShape shape = shape_of(config);
  ServingSetup setup;
  setup.model = &shape;
  setup.device = &require_device(catalog, options.device, "--device");
  setup.constants = load_time_constants();
  setup.weight_bytes = width_bytes(options.weights, "--weights");
  setup.kv_bytes = width_bytes(options.kv, "--kv");
  const Answer answer = answer_of(options, fitting_model(setup, options.tensor));
  const ServingResult& one = answer.result;
  const auto replicas = static_cast<double>(answer.replicas);
  const double output = one.output_tokens_per_second * replicas, total = one.total_tokens_per_second * replicas;

  double price = options.price;
  std::string price_source = price > 0 ? "--price" : "";
  if (price <= 0)
    if (const DevicePrice* found = cheapest(catalog, setup.device->name, PriceKind::on_demand)) {
      price = found->usd;
      price_source = fmt::format("{}, {}", found->provider, found->date);
    }
  const ServingMoney money = rent_money(price, answer.devices(), output, total);
  const CatalogModel* named = find_catalog_model(options.model);
  const std::vector<ApiComparison> apis = compare_apis(
      catalog, named == nullptr ? options.model : std::string(named->name), total - output, output, money.usd_per_hour);
  BuyOrRent buy;
  buy.buy_usd = options.buy_price;
  if (buy.buy_usd <= 0)
    if (const DevicePrice* found = cheapest(catalog, setup.device->name, PriceKind::buy)) buy.buy_usd = found->usd;
  buy.rent_usd_per_hour = price;
  buy.watts = setup.device->power_watts;
  buy.usd_per_kwh = options.power_price;
  buy.utilisation = options.utilisation;
  std::optional<double> even;
  if (price > 0) even = break_even_hours(buy);

  std::vector<Alternative> alternatives;
  const bool has_target = options.target_first > 0 || options.target_between > 0;
  if (options.users > 0 && !has_target) alternatives = alternatives_of(options, answer.model);
  const auto usd_per_million = [&](const Alternative& each) {
    const double rate = each.result.output_tokens_per_second * static_cast<double>(each.replicas);
    return rent_money(price, each.devices(), rate, rate).usd_per_million_output;
  };

  if (options.json) {
    Json others = Json::array();
    for (const Alternative& each : alternatives)
      others.push_back(
          {{"devices", each.devices()},
           {"replicas", each.replicas},
           {"tensor", each.tensor},
           {"first_token_seconds", percentiles_json(each.result.first_token_seconds)},
           {"between_tokens_seconds", percentiles_json(each.result.between_tokens_seconds)},
           {"output_tokens_per_second", each.result.output_tokens_per_second * static_cast<double>(each.replicas)},
           {"usd_per_million_output", price > 0 ? Json(usd_per_million(each)) : Json(nullptr)}});
    Json api_rows = Json::array();
    for (const ApiComparison& row : apis)
      api_rows.push_back({{"provider", row.price.provider},
                          {"usd_input_per_million", row.price.usd_input},
                          {"usd_output_per_million", row.price.usd_output},
                          {"usd_per_hour", row.usd_per_hour},
                          {"times_ours", row.times_ours > 0 ? Json(row.times_ours) : Json(nullptr)},
                          {"date", row.price.date}});
    write_json(
        {{"kind", "serve-plan"},
         {"model", options.model},
         {"device", setup.device->name},
         {"devices", answer.devices()},
         {"replicas", answer.replicas},
         {"tensor", answer.model.setup.tensor},
         {"weights_bytes_per_device", answer.model.weights_device_bytes},
         {"cache_bytes_per_device", static_cast<double>(answer.model.cache_tokens) * answer.model.kv_token_bytes},
         {"workspace_bytes_per_device", answer.model.workspace_bytes},
         {"device_bytes", setup.device->memory_bytes},
         {"cache_tokens_per_replica", answer.model.cache_tokens},
         {"first_token_seconds", percentiles_json(one.first_token_seconds)},
         {"between_tokens_seconds", percentiles_json(one.between_tokens_seconds)},
         {"output_tokens_per_second", output},
         {"total_tokens_per_second", total},
         {"requests_per_second", one.requests_per_second * replicas},
         {"mean_decoding_per_replica", one.mean_decoding},
         {"peak_cache_share", one.peak_cache_share},
         {"preemptions", one.preemptions},
         {"keeps_up", one.keeps_up},
         {"most_users_per_replica", answer.most_users ? Json(*answer.most_users) : Json(nullptr)},
         {"usd_per_device_hour", price > 0 ? Json(price) : Json(nullptr)},
         {"usd_per_million_output", price > 0 ? Json(money.usd_per_million_output) : Json(nullptr)},
         {"usd_per_million_total", price > 0 ? Json(money.usd_per_million_total) : Json(nullptr)},
         {"room_for_all", others},
         {"api", api_rows},
         {"buy_usd_per_device", buy.buy_usd > 0 ? Json(buy.buy_usd) : Json(nullptr)},
         {"break_even_hours", even ? Json(*even) : Json(nullptr)}});
    return 0;
  }
  const auto line = [](std::string_view name, const Percentiles& p, double unit) {
    return fmt::format("  {:<22}{:>10.1f}{:>10.1f}{:>10.1f}\n", name, p.p50 * unit, p.p95 * unit, p.p99 * unit);
  };
  std::string text =
      fmt::format("{} on {} × {}: {} replica{} of {}\n\n  weights {} a device, cache for {} tokens a replica\n\n",
                  options.model, answer.devices(), setup.device->name, answer.replicas, answer.replicas == 1 ? "" : "s",
                  answer.model.setup.tensor, format_bytes(static_cast<int64_t>(answer.model.weights_device_bytes)),
                  format_thousands(answer.model.cache_tokens));
  text += fmt::format("  {:<22}{:>10}{:>10}{:>10}\n", "milliseconds", "p50", "p95", "p99");
  text += line("to the first token", one.first_token_seconds, 1e3);
  text += line("between tokens", one.between_tokens_seconds, 1e3);
  text += fmt::format(
      "\n  {} tokens/s written, {} with prompts, {} requests/s; {:.0f} answered at once, cache "
      "{:.0f} % full at most, {} thrown out\n",
      format_number(output), format_number(total), format_number(one.requests_per_second * replicas),
      one.mean_decoding * replicas, 100 * one.peak_cache_share, one.preemptions);
  if (!one.keeps_up) text += "  it does not keep up: the queue grows\n";
  if (!alternatives.empty() && (alternatives.size() > 1 || alternatives[0].devices() != answer.devices())) {
    const std::vector<Column> columns = {{"replicas", true}, {"devices"},  {"first ms p95"},
                                         {"next p95"},       {"tokens/s"}, {"USD/M written"}};
    std::vector<std::vector<std::string>> rows;
    for (const Alternative& each : alternatives)
      rows.push_back({fmt::format("{} of {}", each.replicas, each.tensor), format_thousands(each.devices()),
                      format_number(1e3 * each.result.first_token_seconds.p95),
                      format_number(1e3 * each.result.between_tokens_seconds.p95),
                      format_number(each.result.output_tokens_per_second * static_cast<double>(each.replicas)),
                      price > 0 ? fmt::format("{:.3f}", usd_per_million(each)) : "-"});
    text += "\n  with room for everybody at once:\n" + table_text(columns, rows);
  }
  if (answer.most_users) text += fmt::format("  most users of one replica within the target: {}\n", *answer.most_users);
  if (price > 0) {
    text += fmt::format(
        "\n  {:.2f} USD/h ({:.2f} a device, {}): {:.3f} USD per million written tokens, {:.3f} per million "
        "of all\n",
        money.usd_per_hour, price, price_source, money.usd_per_million_output, money.usd_per_million_total);
    std::vector<std::vector<std::string>> rows;
    for (const ApiComparison& row : apis)
      rows.push_back({row.price.provider, fmt::format("{:.2f}", row.price.usd_input),
                      fmt::format("{:.2f}", row.price.usd_output), format_usd(row.usd_per_hour),
                      fmt::format("{:.2f} ×", row.times_ours)});
    const std::vector<Column> columns = {
        {"the same tokens, hosted by", true}, {"USD/M in"}, {"USD/M out"}, {"USD/h"}, {"of ours"}};
    if (!rows.empty()) text += "\n" + table_text(columns, rows);
    if (even)
      text += fmt::format("  bought for {} USD a device, it is cheaper than rented after {} days at {:.0f} % use\n",
                          format_usd(buy.buy_usd), format_number(*even / 24), 100 * options.utilisation);
    else if (buy.buy_usd > 0) text += "  bought, it never gets cheaper than rented at this use\n";
  } else {
    text += "\n  no price for this device is in the catalogue: --price USD, of one device and hour, adds the money\n";
  }
  write_page(text);
  return 0;
}

}  // namespace

Command serve_plan_command() {
  auto options = std::make_shared<ServeOptions>();
  const auto number = [](std::string_view name, std::string_view value, std::string_view help, auto* target, double min,
                         double max) {
    return Argument{.name = name, .value_name = value, .help = help, .target = target, .min = min, .max = max};
  };
  return {
      .name = "serve-plan",
      .summary = "latency, throughput and money of serving a model, simulated pass by pass",
      .examples =
          {"plimsoll serve-plan llama-3.3-70b --device h100-80g --weights 8bit --users 50 --prompt 5000 --output 500",
           "plimsoll serve-plan llama-3.1-8b --device l40s --rate 4 --prompt 1000 --output 300 --target-first 1 "
           "--target-between 0.05 --json"},
      .arguments =
          {{.name = "MODEL",
            .value_name = "MODEL",
            .help = "folder, .gguf file, config.json, hub id or a name of the catalogue",
            .target = &options->model,
            .required = true},
           {.name = "--device",
            .value_name = "NAME",
            .help = "of `plimsoll devices`",
            .target = &options->device,
            .required = true},
           number("--tensor", "N", "devices of a replica [the least power of two that holds the model]",
                  &options->tensor, 1, 4096),
           number("--users", "N", "each asks again as soon as it is answered", &options->users, 1, 1e6),
           number("--rate", "R", "instead of users: requests a second, at random times", &options->rate, 1e-6, 1e6),
           number("--prompt", "N", "tokens of a prompt [512]", &options->prompt, 1, 1e8),
           number("--output", "N", "tokens of an answer [256]", &options->output, 1, 1e8),
           number("--spread", "S", "lengths vary evenly by this share around both [0]", &options->spread, 0, 1),
           {.name = "--weights", .value_name = "16bit|8bit|4bit", .help = "[16bit]", .target = &options->weights},
           {.name = "--kv", .value_name = "16bit|8bit", .help = "of the cache [16bit]", .target = &options->kv},
           number("--target-first", "S", "seconds to the first token that 95 of 100 requests must keep",
                  &options->target_first, 1e-6, 1e6),
           number("--target-between", "S", "seconds between tokens, the same", &options->target_between, 1e-6, 1e6),
           number("--price", "USD", "of one device an hour [the catalogue's cheapest]", &options->price, 0, 1e6),
           number("--buy-price", "USD", "of one device [the catalogue's]", &options->buy_price, 0, 1e9),
           number("--power-price", "USD", "of a kWh [0.15]", &options->power_price, 0, 100),
           number("--utilisation", "SHARE", "of the hours that a bought device is used [1]", &options->utilisation,
                  0.001, 1),
           number("--seed", "N", "of arrivals and lengths [0]", &options->seed, 0, 1e15),
           {.name = "--catalog",
            .value_name = "DIR",
            .help = "your own devices and prices over ours [$PLIMSOLL_CATALOG]",
            .target = &options->catalog}},
      .json = &options->json,
      .run = [options] { return run_serve_plan(*options); }};
}

}  // namespace plimsoll::cli
