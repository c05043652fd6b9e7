#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/figures.h"
#include "base/table.h"
#include "cli/commands.h"
#include "cli/text/output.h"
#include "cost/device_catalog.h"

namespace plimsoll::cli {
namespace {

struct DevicesOptions {
  std::string name, catalog;
  bool prices = false, api_prices = false, json = false;
};

std::string tera(double flops) { return flops > 0 ? fmt::format("{:.4g}", flops / 1e12) : "-"; }
std::string giga(double rate) { return rate > 0 ? format_number(rate / 1e9) : "-"; }

// Addresses are longer than a line of a table: they stand under it, each once, with a number.
class Sources {
 public:
  std::string number_of(const std::string& source) {
    if (source.empty()) return "";
    const auto found = std::find(sources_.begin(), sources_.end(), source);
    const auto at = found - sources_.begin();
    if (found == sources_.end()) sources_.push_back(source);
    return fmt::format("[{}]", at + 1);
  }
  std::string text() const {
    std::string text = "\n";
    for (size_t i = 0; i < sources_.size(); ++i)
      text += fmt::format("  {:>4} {}\n", fmt::format("[{}]", i + 1), sources_[i]);
    return text;
  }

 private:
  std::vector<std::string> sources_;
};

using Rows = std::vector<std::vector<std::string>>;

std::string unit_of(const DevicePrice& price) { return price.kind == PriceKind::buy ? "USD" : "USD/h"; }

Json number(double value) { return value > 0 ? Json(value) : Json(nullptr); }

Json device_json(const Catalog& catalog, const Device& device) {
  Json figures = Json::array();
  for (const DeviceFigure& figure : catalog.figures)
    if (figure.device == device.name)
      figures.push_back({{"figure", figure.figure},
                         {"value", figure.value},
                         {"unit", figure.unit},
                         {"source", figure.source},
                         {"date", figure.date}});
  return {{"name", device.name},
          {"names", device.names},
          {"memory_bytes", device.memory_bytes > 0 ? Json(device.memory_bytes) : Json(nullptr)},
          {"flops",
           {{"fp32", number(device.fp32)},
            {"tf32", number(device.tf32)},
            {"bf16", number(device.bf16)},
            {"fp16", number(device.fp16)},
            {"fp8", number(device.fp8)},
            {"fp4", number(device.fp4)},
            {"int8", number(device.int8)},
            {"achieved_bf16", number(device.achieved_bf16)},
            {"achieved_fp8", number(device.achieved_fp8)}}},
          {"bytes_per_second",
           {{"memory", number(device.bandwidth)},
            {"link", number(device.link)},
            {"host_link", number(device.host_link)},
            {"network", number(device.network)}}},
          {"node_devices", device.node_devices > 0 ? Json(device.node_devices) : Json(nullptr)},
          {"power_watts", number(device.power_watts)},
          {"figures", figures}};
}

Json price_json(const DevicePrice& price) {
  return {{"device", price.device},     {"kind", price_kind_name(price.kind)},
          {"provider", price.provider}, {"usd", price.usd},
          {"source", price.source},     {"date", price.date}};
}

Json api_price_json(const ApiPrice& price) {
  return {{"model", price.model},
          {"provider", price.provider},
          {"usd_input_per_million", price.usd_input},
          {"usd_output_per_million", price.usd_output},
          {"source", price.source},
          {"date", price.date}};
}

void show_one(const Catalog& catalog, const Device& device, bool json) {
  if (json) {
    Json document = device_json(catalog, device);
    Json prices = Json::array();
    for (const DevicePrice& price : catalog.prices)
      if (price.device == device.name) prices.push_back(price_json(price));
    document["prices"] = prices;
    write_json(document);
    return;
  }
  std::string names;
  Sources sources;
  Rows rows;
  for (const DeviceFigure& figure : catalog.figures) {
    if (figure.device != device.name) continue;
    if (figure.figure == "names") names = figure.value;
    else rows.push_back({figure.figure, figure.value, figure.unit, figure.date, sources.number_of(figure.source)});
  }
  for (const DevicePrice& price : catalog.prices)
    if (price.device == device.name)
      rows.push_back({std::string(price_kind_name(price.kind)), format_usd(price.usd), unit_of(price), price.date,
                      fmt::format("{} {}", sources.number_of(price.source), price.provider)});
  std::string text = device.name + "\n";
  for (size_t at = names.find(';'); at != std::string::npos; at = names.find(';', at + 2)) names.replace(at, 1, ", ");
  if (!names.empty()) text += "  also " + names + "\n";
  const std::vector<Column> columns = {{"", true}, {""}, {"", true}, {"", true}, {"", true}};
  write_page(text + "\n" + table_text(columns, rows) + sources.text());
}

void show_all(const Catalog& catalog, bool json) {
  if (json) {
    Json devices = Json::array();
    for (const Device& device : catalog.devices) devices.push_back(device_json(catalog, device));
    write_json({{"devices", devices}});
    return;
  }
  const auto usd = [&](const Device& device, PriceKind kind) {
    const DevicePrice* price = cheapest(catalog, device.name, kind);
    return price == nullptr ? std::string("-") : fmt::format("{:.2f}", price->usd);
  };
  Rows rows;
  for (const Device& device : catalog.devices)
    rows.push_back({device.name,
                    device.memory_bytes > 0
                        ? fmt::format("{:.1f}", static_cast<double>(device.memory_bytes) / static_cast<double>(kGiB))
                        : "-",
                    tera(device.fp32), tera(device.half_peak()), tera(device.fp8), giga(device.bandwidth),
                    giga(device.link), device.power_watts > 0 ? format_number(device.power_watts) : "-",
                    usd(device, PriceKind::on_demand), usd(device, PriceKind::spot)});
  const std::vector<Column> columns = {{"device", true}, {"memory\nGiB"},  {"fp32\nTFLOPS"}, {"16 bit\nTFLOPS"},
                                       {"fp8\nTFLOPS"},  {"memory\nGB/s"}, {"link\nGB/s"},   {"power\nW"},
                                       {"rent/h\nUSD"},  {"spot/h\nUSD"}};
  write_page(table_text(columns, rows, 0) +
             "\nPeaks are dense, links are one direction, - is what no source at hand says. plimsoll devices "
             "NAME shows each figure's source.\n");
}

int run_devices(const DevicesOptions& options) {
  const Catalog catalog = load_catalog(options.catalog);
  if (options.prices || options.api_prices) {
    if (!options.name.empty() || (options.prices && options.api_prices))
      throw caller_error(options.prices ? "--prices" : "--api-prices", "shows a whole table", "give it alone");
    Json rows = Json::array();
    Rows lines;
    Sources sources;
    std::vector<Column> columns;
    if (options.prices) {
      columns = {{"device", true}, {"kind", true}, {"price"}, {"", true}, {"from", true}, {"date", true}, {"source"}};
      for (const DevicePrice& price : catalog.prices) {
        rows.push_back(price_json(price));
        lines.push_back({price.device, std::string(price_kind_name(price.kind)), format_usd(price.usd), unit_of(price),
                         price.provider, price.date, sources.number_of(price.source)});
      }
    } else {
      columns = {{"USD per million tokens", true}, {"of", true}, {"in"}, {"out"}, {"date", true}, {"source"}};
      for (const ApiPrice& price : catalog.api_prices) {
        rows.push_back(api_price_json(price));
        lines.push_back({price.model, price.provider, fmt::format("{:.3f}", price.usd_input),
                         fmt::format("{:.3f}", price.usd_output), price.date, sources.number_of(price.source)});
      }
    }
    if (options.json) write_json({{"prices", rows}});
    else write_page(table_text(columns, lines, 0) + sources.text());
    return 0;
  }
  if (options.name.empty()) show_all(catalog, options.json);
  else show_one(catalog, require_device(catalog, options.name, "NAME"), options.json);
  return 0;
}

}  // namespace

Command devices_command() {
  auto options = std::make_shared<DevicesOptions>();
  return {.name = "devices",
          .summary = "the catalogue of devices and prices, with the source of each figure",
          .examples = {"plimsoll devices", "plimsoll devices h100-80g --json"},
          .arguments = {{.name = "[NAME]",
                         .value_name = "NAME",
                         .help = "one device, with the source and date of each figure",
                         .target = &options->name},
                        {.name = "--prices",
                         .value_name = "",
                         .help = "what devices cost to buy and to rent",
                         .target = &options->prices},
                        {.name = "--api-prices",
                         .value_name = "",
                         .help = "what hosted models cost per million tokens",
                         .target = &options->api_prices},
                        {.name = "--catalog",
                         .value_name = "DIR",
                         .help = "your own devices.csv, prices.csv, api_prices.csv over ours [$PLIMSOLL_CATALOG]",
                         .target = &options->catalog}},
          .json = &options->json,
          .run = [options] { return run_devices(*options); }};
}

}  // namespace plimsoll::cli
