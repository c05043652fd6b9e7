#include "cli/predict/serve_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "config/model_catalog.h"
#include "hub/model_source.h"

namespace plimsoll::cli {
namespace {

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

void add_money(ServeReport& report, const ServeOptions& options, const Catalog& catalog, const Device& device) {
  report.price = options.price;
  if (report.price > 0) report.price_source = "--price";
  else if (const DevicePrice* found = cheapest(catalog, device.name, PriceKind::on_demand)) {
    report.price = found->usd;
    report.price_source = fmt::format("{}, {}", found->provider, found->date);
  }
  report.money = rent_money(report.price, report.answer.devices(), report.output_rate, report.total_rate);
  const CatalogModel* named = find_catalog_model(options.model);
  report.apis = compare_apis(catalog, named == nullptr ? options.model : std::string(named->name),
                             report.total_rate - report.output_rate, report.output_rate, report.money.usd_per_hour);
  BuyOrRent buy;
  buy.buy_usd = options.buy_price;
  if (buy.buy_usd <= 0)
    if (const DevicePrice* found = cheapest(catalog, device.name, PriceKind::buy)) buy.buy_usd = found->usd;
  buy.rent_usd_per_hour = report.price;
  buy.watts = device.power_watts;
  buy.usd_per_kwh = options.power_price;
  buy.utilisation = options.utilisation;
  report.buy_usd = buy.buy_usd;
  if (report.price > 0) report.break_even_hours = break_even_hours(buy);
}

}  // namespace

double ServeReport::usd_per_million(const Alternative& each) const {
  const double rate = each.result.output_tokens_per_second * static_cast<double>(each.replicas);
  return rent_money(price, each.devices(), rate, rate).usd_per_million_output;
}

ServeReport serve_report(const ServeOptions& options) {
  if (options.users <= 0 && options.rate <= 0)
    throw caller_error("--users or --rate", "is missing",
                       "--users 32 (each asks again when answered), or --rate 2 a second");
  const Catalog catalog = load_catalog(options.catalog);
  const ModelConfig config = open_model_source(options.model, ModelNeed::config).config;
  const ModelShape shape = shape_of(config);
  const Device& device = require_device(catalog, options.device, "--device");
  ServingSetup setup;
  setup.model = &shape;
  setup.device = &device;
  setup.constants = load_time_constants();
  setup.weight_bytes = width_bytes(options.weights, "--weights");
  setup.kv_bytes = width_bytes(options.kv, "--kv");
  ServeReport report;
  report.device = device.name;
  report.device_bytes = device.memory_bytes;
  report.answer = answer_of(options, fitting_model(setup, options.tensor));
  const auto replicas = static_cast<double>(report.answer.replicas);
  report.output_rate = report.answer.result.output_tokens_per_second * replicas;
  report.total_rate = report.answer.result.total_tokens_per_second * replicas;
  add_money(report, options, catalog, device);
  const bool has_target = options.target_first > 0 || options.target_between > 0;
  if (options.users > 0 && !has_target) report.alternatives = alternatives_of(options, report.answer.model);
  // What they point to ends here.
  report.answer.model.setup.model = nullptr;
  report.answer.model.setup.device = nullptr;
  return report;
}

}  // namespace plimsoll::cli
