// The catalogue of devices and prices: catalog/devices.csv, prices.csv, api_prices.csv, each figure with its source and
// date. A folder of the user's own with files of these names and columns replaces figures and adds devices.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace plimsoll {

// One figure as the file has it.
struct DeviceFigure {
  std::string device, figure, value, unit, source, date;
};

// Rates are per second and of one direction; flops are dense, multiply and add count as two. 0: no source, so unknown.
struct Device {
  std::string name;
  std::vector<std::string> names;  // what people call it
  int64_t memory_bytes = 0;        // what a process can use: `memory_visible` where there is one, else `memory`
  double fp32 = 0, tf32 = 0, bf16 = 0, fp16 = 0, fp8 = 0, fp4 = 0, int8 = 0;  // peak flops per second
  double achieved_bf16 = 0, achieved_fp8 = 0;  // the best matrix product that was measured, flops per second
  double sustained_bf16 = 0;  // what large products keep up in long runs, under the limit of power; flops per second
  double flash2 = 0, flash3 = 0;  // the fastest measured forward attention of FlashAttention-2 and -3, flops per second
  double bandwidth = 0;           // of its memory, bytes per second
  double link = 0;                // to the devices of its node (NVLink, Infinity Fabric), bytes per second
  double host_link = 0;           // to the host, bytes per second
  double network = 0;             // to other nodes, its share, bytes per second
  int64_t node_devices = 0;       // devices of a node
  double power_watts = 0;

  double half_peak() const { return bf16 > 0 ? bf16 : fp16; }  // of 16-bit products
};

enum class PriceKind { buy, on_demand, spot };

struct DevicePrice {
  std::string device;
  PriceKind kind = PriceKind::on_demand;
  std::string provider;
  double usd = 0;  // of one device: an hour of it, or the device itself
  std::string source, date;
  bool own = false;  // from the user's folder
};

struct ApiPrice {
  std::string model, provider;
  double usd_input = 0, usd_output = 0;  // per million tokens
  std::string source, date;
};

struct Catalog {
  std::vector<Device> devices;
  std::vector<DeviceFigure> figures;  // in the file's order
  std::vector<DevicePrice> prices;
  std::vector<ApiPrice> api_prices;
};

// `folder` empty: $PLIMSOLL_CATALOG where that is set. Throws a caller Error that names file, device and figure for an
// unknown figure, a wrong unit, a value that is no positive number, or a missing source or date; a world Error for a
// file that cannot be read.
Catalog load_catalog(const std::string& folder = "");

// By any of its names; else the device whose longest name stands in `text` ("8x NVIDIA H100 80GB HBM3 (DGX)").
// nullptr where none does.
const Device* find_device(const Catalog& catalog, std::string_view text);

// Throws a caller Error that lists near names.
const Device& require_device(const Catalog& catalog, std::string_view name, std::string_view flag);

// The cheapest price of a kind, of the user's own where the folder has one; nullptr where the catalogue has none.
const DevicePrice* cheapest(const Catalog& catalog, std::string_view device, PriceKind kind);

std::string_view price_kind_name(PriceKind kind);

}  // namespace plimsoll
