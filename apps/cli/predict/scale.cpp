#include <fmt/format.h>

#include <cmath>
#include <memory>

#include "base/error.h"
#include "base/figures.h"
#include "base/table.h"
#include "base/text.h"
#include "cli/arguments/common_arguments.h"
#include "cli/commands.h"
#include "cli/text/output.h"
#include "cost/device_catalog.h"
#include "cost/scaling_law.h"

namespace plimsoll::cli {
namespace {

struct ScaleOptions {
  double flops = 0, hours = 0, usd = 0, price = 0, mfu = 0.4, serve_tokens = 0;
  int64_t count = 1;
  std::string device, fit = "chinchilla-2024", catalog;
  bool json = false;
};

const LossFit& fit_of(const std::string& name) {
  for (const LossFit& fit : kLossFits)
    if (fit.name == name) return fit;
  throw caller_error("--fit " + one_line(name, 40), "is no fit", "chinchilla-2024 or chinchilla-2022");
}

double flops_of(const ScaleOptions& options, double& device_hours, double& price) {
  const int given = (options.flops > 0) + (options.hours > 0) + (options.usd > 0);
  if (given != 1)
    throw caller_error("budget", given == 0 ? "is missing" : "is given twice",
                       "one of --flops 1e22, --hours 500 and --usd 10000; hours and money need a --device");
  if (options.device.empty() && options.flops > 0) return options.flops;
  const Catalog catalog = load_catalog(options.catalog);
  if (options.device.empty())
    throw caller_error("--device", "is missing", "hours and money need one, for example --device h100-80g");
  const Device& device = require_device(catalog, options.device, "--device");
  if (device.half_peak() <= 0)
    throw caller_error(device.name, "the catalogue has no peak for it", "add bf16 to a devices.csv of your own");
  price = options.price;
  if (price <= 0)
    if (const DevicePrice* found = cheapest(catalog, device.name, PriceKind::on_demand)) price = found->usd;
  const double rate = device.half_peak() * options.mfu;
  if (options.usd > 0) {
    if (price <= 0) throw caller_error("--usd", "the catalogue has no price for " + device.name, "give --price");
    device_hours = options.usd / price;
  } else if (options.hours > 0) {
    device_hours = options.hours * static_cast<double>(options.count);
  } else {
    device_hours = options.flops / rate / 3600;
  }
  return device_hours * 3600 * rate;
}

Json size_json(const TrainingSize& size) {
  return {{"parameters", size.parameters},
          {"tokens", std::isinf(size.tokens) ? Json(nullptr) : Json(size.tokens)},
          {"flops", std::isinf(size.flops) ? Json(nullptr) : Json(size.flops)},
          {"loss", size.loss}};
}

int run_scale(const ScaleOptions& options) {
  double device_hours = 0, price = 0;
  const double flops = flops_of(options, device_hours, price);
  const LossFit& fit = fit_of(options.fit);
  const TrainingSize best = compute_optimal(fit, flops);
  Json smaller = Json::array();
  std::string text = format_power(flops) + " flops";
  if (device_hours > 0) {
    text += fmt::format(": {} device hours at {:.0f} % MFU", format_thousands(std::llround(device_hours)),
                        100 * options.mfu);
    if (price > 0) text += fmt::format(", {} USD at {:.2f} an hour", format_usd(price * device_hours), price);
  }
  std::vector<std::vector<std::string>> rows = {{"compute-optimal", format_count(best.parameters),
                                                 format_count(best.tokens), format_power(best.flops),
                                                 fmt::format("{:.3f}", best.loss), ""}};
  for (const double share : {0.7, 0.5, 0.35, 0.25}) {
    const TrainingSize size = over_trained(fit, best, share * best.parameters);
    const double served = break_even_tokens(best, size);
    Json row = size_json(size);
    row["break_even_tokens"] = std::isinf(served) ? Json(nullptr) : Json(served);
    if (options.serve_tokens > 0 && !std::isinf(size.flops)) {
      row["flops_with_serving"] = size.flops + 2 * size.parameters * options.serve_tokens;
    }
    smaller.push_back(row);
    rows.push_back({fmt::format("{:.0f} % of its size", 100 * share), format_count(size.parameters),
                    format_count(size.tokens), format_power(size.flops), fmt::format("{:.3f}", size.loss),
                    std::isinf(served) ? "never" : format_count(served) + " tokens"});
  }
  const std::vector<Column> columns = {{"", true},         {"parameters"}, {"tokens"},
                                       {"flops to train"}, {"loss"},       {"cheaper after\nserving"}};
  text += "\n\n" + table_text(columns, rows, 0);
  text += fmt::format(
      "\nfit: {}. Training takes 6, serving 2 flops a parameter and token; never: no number "
      "of tokens brings that size to the same loss.\n",
      fit.source);
  if (options.json)
    write_json({{"flops", flops},
                {"device_hours", device_hours > 0 ? Json(device_hours) : Json(nullptr)},
                {"usd", price > 0 && device_hours > 0 ? Json(price * device_hours) : Json(nullptr)},
                {"fit", fit.name},
                {"source", fit.source},
                {"compute_optimal", size_json(best)},
                {"over_trained", smaller}});
  else write_page(text);
  return 0;
}

}  // namespace

Command scale_command() {
  auto options = std::make_shared<ScaleOptions>();
  return {.name = "scale",
          .summary = "the best model size and tokens for a budget of flops, hours or money",
          .examples = {"plimsoll scale --flops 1e22", "plimsoll scale --usd 50000 --device h100-80g --mfu 0.4 --json"},
          .arguments =
              {number_argument("--flops", "N", "the budget, as 1e22", options->flops, 1e12, 1e32),
               number_argument("--hours", "H", "the budget as hours on --count devices", options->hours, 1e-6, 1e9),
               number_argument("--usd", "USD", "the budget as money for renting --device", options->usd, 1e-6, 1e12),
               {.name = "--device", .value_name = "NAME", .help = "of `plimsoll devices`", .target = &options->device},
               number_argument("--count", "N", "devices, with --hours [1]", options->count, 1, 1e7),
               number_argument("--mfu", "SHARE", "of the peak that training reaches [0.4]", options->mfu, 0.001, 1),
               device_price_argument(options->price),
               number_argument("--serve-tokens", "N", "add what serving this many tokens takes (--json)",
                               options->serve_tokens, 0, 1e20),
               {.name = "--fit",
                .value_name = "NAME",
                .help = "chinchilla-2024 or chinchilla-2022 [chinchilla-2024]",
                .target = &options->fit},
               catalog_argument(options->catalog)},
          .json = &options->json,
          .run = [options] { return run_scale(*options); }};
}

}  // namespace plimsoll::cli
