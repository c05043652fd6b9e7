#include "cli/predict/serve_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "cli/predict/sequence_note.h"
#include "cli/predict/used_price.h"
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

bool has_target(const ServeOptions& options) { return options.target_first > 0 || options.target_between > 0; }

bool meets(const ServingResult& result, const ServeOptions& options) {
  return result.keeps_up && (options.target_first <= 0 || result.first_token_seconds.p95 <= options.target_first) &&
         (options.target_between <= 0 || result.between_tokens_seconds.p95 <= options.target_between);
}

Traffic traffic_of(const ServeOptions& options, int64_t replicas) {
  Traffic traffic;
  traffic.users = ceil_div(options.users, replicas);
  traffic.together = options.together;
  traffic.rate = options.users > 0 ? 0 : options.rate / static_cast<double>(replicas);
  traffic.prompt_tokens = options.prompt;
  traffic.output_tokens = options.output;
  traffic.spread = options.spread;
  traffic.seed = static_cast<uint64_t>(options.seed);
  return traffic;
}

// Replicas until the target is met, on fewer devices than `most`. Empty where more would be needed.
std::optional<Answer> replicas_of(const ServeOptions& options, const ServingModel& model, int64_t most_devices) {
  constexpr int64_t kMostReplicas = 1024;
  Answer answer;
  answer.model = model;
  for (int64_t replicas = 1;; replicas = replicas < 8 ? replicas + 1 : replicas + replicas / 4) {
    answer.replicas = replicas;
    if (answer.devices() >= most_devices) return std::nullopt;
    answer.result = simulate_serving(model, traffic_of(options, replicas));
    if (meets(answer.result, options) || (options.users > 0 && !has_target(options))) return answer;
    if (replicas >= kMostReplicas || (options.users > 0 && replicas >= options.users))
      throw Error(
          ErrorKind::does_not_fit, "target",
          fmt::format("even {} replicas of {} answer with {:.2f} s to the first token and {:.3f} s between tokens "
                      "(p95)",
                      replicas, model.setup.tensor, answer.result.first_token_seconds.p95,
                      answer.result.between_tokens_seconds.p95),
          "a faster device, a looser target" +
              std::string(options.tensor > 0 ? ", more of them a replica with --tensor" : "") +
              smaller_setups(model.setup));
  }
}

// One request alone on a replica: what no number of replicas betters.
bool ever_meets(const ServeOptions& options, const ServingModel& model) {
  Traffic alone = traffic_of(options, 1);
  alone.users = 1, alone.rate = 0, alone.requests = 20;
  return meets(simulate_serving(model, alone), options);
}

// By halving. Only users can be halved: of a rate, the replicas are found above.
int64_t most_users_of(const ServeOptions& options, const ServingModel& model) {
  constexpr int64_t kMostUsers = 4096;
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
  return low;
}

// With a target and no --tensor, replicas of other sizes are tried, too: the fewest devices that hold it, and of
// equals the one whose first token comes first.
Answer answer_of(const ServeOptions& options, const ServingSetup& setup) {
  constexpr int64_t kAny = std::numeric_limits<int64_t>::max();
  if (options.tensor > 0) {
    ServingSetup asked = setup;
    asked.tensor = options.tensor;
    Answer answer = *replicas_of(options, serving_model(asked), kAny);
    if (has_target(options) && options.users > 0) answer.most_users = most_users_of(options, answer.model);
    return answer;
  }
  const ServingModel least = least_serving_model(setup, longest_request(traffic_of(options, 1)));
  if (!has_target(options)) return *replicas_of(options, least, kAny);
  const int64_t most = std::max(least.setup.tensor, fabric_of(*setup.device, setup.constants).node_devices);
  std::optional<Answer> best;
  for (int64_t tensor = least.setup.tensor; tensor <= most; tensor *= 2) {
    if (!can_join(*setup.device, setup.constants, tensor)) break;
    ServingSetup wider = setup;
    wider.tensor = tensor;
    const ServingModel model = serving_model(wider);
    const bool last = tensor * 2 > most || !can_join(*setup.device, setup.constants, tensor * 2);
    if (!ever_meets(options, model) && !(last && !best)) continue;
    std::optional<Answer> answer;
    try {
      answer = replicas_of(options, model, best ? best->devices() + 1 : kAny);
    } catch (const Error&) {
      if (last && !best) throw;
    }
    if (answer && (!best || answer->devices() < best->devices() ||
                   answer->result.first_token_seconds.p95 < best->result.first_token_seconds.p95))
      best = std::move(answer);
  }
  if (options.users > 0) best->most_users = most_users_of(options, best->model);
  return *best;
}

std::vector<Alternative> alternatives_of(const ServeOptions& options, const ServingModel& smallest) {
  constexpr int64_t kMostReplicas = 4096;
  constexpr double kAnswered = 0.7;  // of the users, at once; the rest have their prompts read
  std::vector<Alternative> found;
  const TimeConstants& constants = smallest.setup.constants;
  const int64_t least = smallest.setup.tensor;
  const int64_t most = std::max(least, fabric_of(*smallest.setup.device, constants).node_devices);
  for (int64_t tensor = least; tensor <= most && found.size() < 3; tensor *= 2) {
    if (!can_join(*smallest.setup.device, constants, tensor)) break;
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
  const UsedPrice price = used_price(catalog, device.name, PriceKind::on_demand, options.price);
  report.price = price.usd;
  report.price_source = price.source;
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
  if (options.users > 0 && options.rate > 0)
    throw caller_error("--rate", "and --users are two kinds of traffic",
                       "one of them: users who ask again when answered, or requests at random times");
  const Catalog catalog = load_catalog(options.catalog);
  const ModelConfig config = open_model_source(options.model, ModelNeed::config).config;
  const ModelShape shape = shape_of(config);
  const Device& device = require_device(catalog, options.device, "--device");
  note_long_sequences(config, options.prompt + options.output, "a prompt and its answer have");
  ServingSetup setup;
  setup.config = &config;
  setup.model = &shape;
  setup.device = &device;
  setup.constants = load_time_constants();
  setup.weight_bytes = width_bytes(options.weights, "--weights");
  setup.kv_bytes = width_bytes(options.kv, "--kv");
  setup.most_sequences = options.at_once;
  setup.request_tokens = options.prompt + options.output;
  ServeReport report;
  report.device = device.name;
  report.device_bytes = device.memory_bytes;
  report.answer = answer_of(options, setup);
  const auto replicas = static_cast<double>(report.answer.replicas);
  report.output_rate = report.answer.result.output_tokens_per_second * replicas;
  report.total_rate = report.answer.result.total_tokens_per_second * replicas;
  add_money(report, options, catalog, device);
  if (options.users > 0 && !has_target(options)) report.alternatives = alternatives_of(options, report.answer.model);
  // What they point to ends here.
  report.answer.model.setup.config = nullptr;
  report.answer.model.setup.model = nullptr;
  report.answer.model.setup.device = nullptr;
  return report;
}

}  // namespace plimsoll::cli
