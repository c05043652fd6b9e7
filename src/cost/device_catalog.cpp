#include "cost/device_catalog.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <filesystem>

#include "base/bytes.h"
#include "base/csv.h"
#include "base/error.h"
#include "base/text.h"
#include "base/words.h"
#include "cost/catalog_text.h"

namespace plimsoll {
namespace {

struct FigureRule {
  std::string_view name, unit;
  double Device::*field;  // nullptr: read by name
  double scale;
};

constexpr std::array kFigures = {
    FigureRule{"names", "", nullptr, 0},
    FigureRule{"memory", "GiB", nullptr, 0},
    FigureRule{"memory_visible", "MiB", nullptr, 0},
    FigureRule{"node_devices", "devices", nullptr, 0},
    FigureRule{"fp32", "TFLOPS", &Device::fp32, 1e12},
    FigureRule{"tf32", "TFLOPS", &Device::tf32, 1e12},
    FigureRule{"bf16", "TFLOPS", &Device::bf16, 1e12},
    FigureRule{"fp16", "TFLOPS", &Device::fp16, 1e12},
    FigureRule{"fp8", "TFLOPS", &Device::fp8, 1e12},
    FigureRule{"fp4", "TFLOPS", &Device::fp4, 1e12},
    FigureRule{"int8", "TOPS", &Device::int8, 1e12},
    FigureRule{"achieved_bf16", "TFLOPS", &Device::achieved_bf16, 1e12},
    FigureRule{"achieved_fp8", "TFLOPS", &Device::achieved_fp8, 1e12},
    FigureRule{"sustained_bf16", "TFLOPS", &Device::sustained_bf16, 1e12},
    FigureRule{"flash2", "TFLOPS", &Device::flash2, 1e12},
    FigureRule{"flash3", "TFLOPS", &Device::flash3, 1e12},
    FigureRule{"bandwidth", "GB/s", &Device::bandwidth, 1e9},
    FigureRule{"link", "GB/s", &Device::link, 1e9},
    FigureRule{"host_link", "GB/s", &Device::host_link, 1e9},
    FigureRule{"network", "GB/s", &Device::network, 1e9},
    FigureRule{"power", "W", &Device::power_watts, 1},
};

Error bad_figure(std::string_view file, const std::string& about, const std::string& problem) {
  return caller_error(fmt::format("{}: {}", one_line(file, 120), one_line(about, 120)), problem,
                      "docs/catalog.md shows the columns, the figures and their units");
}

double positive(std::string_view file, const std::string& about, const std::string& text) {
  const auto value = parse_number(text);
  if (!value || !(*value > 0) || *value > 1e15)
    throw bad_figure(file, about, fmt::format("'{}' is no positive number", one_line(text, 40)));
  return *value;
}

bool is_date(std::string_view text) {  // 2024, 2024-05 or 2024-05-31
  if (text.size() != 4 && text.size() != 7 && text.size() != 10) return false;
  for (size_t i = 0; i < text.size(); ++i)
    if ((i == 4 || i == 7) ? text[i] != '-' : std::isdigit(static_cast<unsigned char>(text[i])) == 0) return false;
  return true;
}

void check_source(std::string_view file, const std::string& about, const std::string& source, const std::string& date) {
  if (source.empty()) throw bad_figure(file, about, "has no source");
  if (!is_date(date)) throw bad_figure(file, about, fmt::format("'{}' is no date", one_line(date, 40)));
}

// The columns of a table in the order that the reader wants.
std::vector<std::vector<std::string>> table_rows(const CsvTable& table, std::string_view file,
                                                 std::initializer_list<std::string_view> columns) {
  std::vector<size_t> at;
  for (const std::string_view name : columns) at.push_back(table.column(name, file));
  std::vector<std::vector<std::string>> rows;
  for (const auto& row : table.rows) {
    rows.emplace_back();
    for (const size_t i : at) rows.back().push_back(row[i]);
  }
  return rows;
}

void read_devices(Catalog& catalog, const CsvTable& table, std::string_view file, bool /*own*/) {
  for (const auto& row : table_rows(table, file, {"device", "figure", "value", "unit", "source", "date"})) {
    const DeviceFigure figure = {row[0], row[1], row[2], row[3], row[4], row[5]};
    const std::string about = figure.device + " " + figure.figure;
    const auto rule =
        std::find_if(kFigures.begin(), kFigures.end(), [&](const FigureRule& r) { return r.name == figure.figure; });
    if (figure.device.empty()) throw bad_figure(file, about, "has no device");
    if (rule == kFigures.end()) throw bad_figure(file, about, "is no figure of the catalogue");
    if (figure.unit != rule->unit)
      throw bad_figure(file, about, fmt::format("is in '{}', the catalogue has '{}'", figure.unit, rule->unit));
    if (figure.figure != "names") positive(file, about, figure.value);
    check_source(file, about, figure.source, figure.date);
    const auto old = std::find_if(catalog.figures.begin(), catalog.figures.end(), [&](const DeviceFigure& f) {
      return f.device == figure.device && f.figure == figure.figure;
    });
    if (old != catalog.figures.end()) *old = figure;
    else catalog.figures.push_back(figure);
  }
}

void read_prices(Catalog& catalog, const CsvTable& table, std::string_view file, bool own) {
  for (const auto& row : table_rows(table, file, {"device", "kind", "provider", "usd", "unit", "source", "date"})) {
    const std::string about = fmt::format("{} {} {}", row[0], row[1], row[2]);
    DevicePrice price = {row[0], PriceKind::buy, row[2], positive(file, about, row[3]), row[5], row[6], own};
    if (row[1] == "on_demand") price.kind = PriceKind::on_demand;
    else if (row[1] == "spot") price.kind = PriceKind::spot;
    else if (row[1] != "buy") throw bad_figure(file, about, "the kind is none of buy, on_demand, spot");
    if (row[4] != (price.kind == PriceKind::buy ? "device" : "hour"))
      throw bad_figure(file, about, fmt::format("the unit is '{}'", one_line(row[4], 40)));
    check_source(file, about, row[5], row[6]);
    std::erase_if(catalog.prices, [&](const DevicePrice& p) {
      return p.device == price.device && p.kind == price.kind && p.provider == price.provider;
    });
    catalog.prices.push_back(price);
  }
}

void read_api_prices(Catalog& catalog, const CsvTable& table, std::string_view file, bool /*own*/) {
  for (const auto& row : table_rows(
           table, file, {"model", "provider", "usd_input_per_million", "usd_output_per_million", "source", "date"})) {
    const std::string about = row[0] + " " + row[1];
    const ApiPrice price = {row[0], row[1], positive(file, about, row[2]), positive(file, about, row[3]),
                            row[4], row[5]};
    check_source(file, about, row[4], row[5]);
    std::erase_if(catalog.api_prices,
                  [&](const ApiPrice& p) { return p.model == price.model && p.provider == price.provider; });
    catalog.api_prices.push_back(price);
  }
}

std::vector<Device> devices_of(const std::vector<DeviceFigure>& figures) {
  std::vector<Device> devices;
  for (const DeviceFigure& figure : figures) {
    auto device =
        std::find_if(devices.begin(), devices.end(), [&](const Device& d) { return d.name == figure.device; });
    if (device == devices.end()) {
      devices.emplace_back();
      device = devices.end() - 1;
      device->name = figure.device;
      device->names = {figure.device};
    }
    const double value = parse_number(figure.value).value_or(0);
    if (figure.figure == "names") {
      for (const std::string& name : split_list(figure.value, ';')) device->names.push_back(name);
    } else if (figure.figure == "memory") {
      if (device->memory_bytes == 0) device->memory_bytes = static_cast<int64_t>(value * static_cast<double>(kGiB));
    } else if (figure.figure == "memory_visible") {
      device->memory_bytes = static_cast<int64_t>(value * static_cast<double>(kMiB));
    } else if (figure.figure == "node_devices") {
      device->node_devices = static_cast<int64_t>(value);
    } else {
      for (const FigureRule& rule : kFigures)
        if (rule.name == figure.figure) (*device).*(rule.field) = value * rule.scale;
    }
  }
  return devices;
}

}  // namespace

Catalog load_catalog(const std::string& folder) {
  Catalog catalog;
  const char* variable = std::getenv("PLIMSOLL_CATALOG");
  const std::string own = !folder.empty() ? folder : variable != nullptr ? variable : "";
  using Reader = void (*)(Catalog&, const CsvTable&, std::string_view, bool);
  constexpr std::array<std::pair<std::string_view, Reader>, 3> kFiles = {
      {{"devices.csv", read_devices}, {"prices.csv", read_prices}, {"api_prices.csv", read_api_prices}}};
  bool found = own.empty();
  for (const auto& [name, read] : kFiles) {
    read(catalog, parse_csv(catalog_text(name), name), name, false);
    if (own.empty()) continue;
    const std::string path = own + "/" + std::string(name);
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) continue;
    found = true;
    read(catalog, read_csv(path), path, true);
  }
  if (!found)
    throw caller_error(one_line(own, 200), "holds none of devices.csv, prices.csv, api_prices.csv",
                       "docs/catalog.md shows their columns");
  catalog.devices = devices_of(catalog.figures);
  return catalog;
}

const Device* find_device(const Catalog& catalog, std::string_view text) {
  const std::string wanted = bare_name(text.substr(0, 200));
  const Device* best = nullptr;
  size_t longest = 0;
  for (const Device& device : catalog.devices)
    for (const std::string& name : device.names) {
      const std::string candidate = bare_name(name);
      if (candidate == wanted) return &device;
      if (candidate.size() > longest && wanted.find(candidate) != std::string::npos)
        best = &device, longest = candidate.size();
    }
  return best;
}

const Device& require_device(const Catalog& catalog, std::string_view name, std::string_view flag) {
  std::vector<std::string_view> names;
  const std::string wanted = bare_name(name);
  for (const Device& device : catalog.devices) {
    for (const std::string& known : device.names)
      if (bare_name(known) == wanted) return device;
    names.push_back(device.name);
  }
  const std::string_view near = nearest_name(name, names);
  throw caller_error(fmt::format("{} {}", flag, one_line(name, 60)), "is no device of the catalogue",
                     near.empty() ? "plimsoll devices lists them; --catalog DIR adds your own"
                                  : fmt::format("{}, or see plimsoll devices; --catalog DIR adds your own", near));
}

const DevicePrice* cheapest(const Catalog& catalog, std::string_view device, PriceKind kind) {
  const DevicePrice* best = nullptr;
  for (const DevicePrice& price : catalog.prices)
    if (price.device == device && price.kind == kind &&
        (best == nullptr || std::pair(!price.own, price.usd) < std::pair(!best->own, best->usd)))
      best = &price;
  return best;
}

std::string_view price_kind_name(PriceKind kind) {
  constexpr std::array<std::string_view, 3> kNames = {"buy", "on_demand", "spot"};
  return kNames[static_cast<size_t>(kind)];
}

}  // namespace plimsoll
