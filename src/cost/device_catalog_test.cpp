#include "cost/device_catalog.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "base/error.h"
#include "support/test_files.h"

namespace plimsoll {
namespace {

struct Folder {
  TestFolder made;  // of this process alone: tests run side by side
  const std::string& path = made.path();
  void write(const std::string& name, const std::string& text) const { std::ofstream(made / name) << text; }
};

TEST(DeviceCatalog, EveryDeviceThatWasAskedForIsThere) {
  const Catalog catalog = load_catalog();
  for (const char* name :
       {"t4",   "v100-16g", "v100-32g", "a10",     "a10g",        "a100-40g",      "a100-80g",     "l4",
        "l40s", "rtx3090",  "rtx4090",  "rtx5090", "rtx6000-ada", "h100-80g-pcie", "h100-80g",     "h200",
        "b200", "gb200",    "mi250",    "mi300x",  "epyc-9654",   "xeon-8480",     "apple-m1-max", "apple-m4-max"}) {
    const Device& device = require_device(catalog, name, "--device");
    EXPECT_GT(device.bandwidth, 0) << name;
  }
}

TEST(DeviceCatalog, FiguresAreInBaseUnits) {
  const Catalog catalog = load_catalog();
  const Device& h100 = require_device(catalog, "H100 80GB SXM", "--device");
  EXPECT_EQ(h100.memory_bytes, int64_t{81559} << 20);
  EXPECT_EQ(h100.bf16, 989e12);
  EXPECT_EQ(h100.bandwidth, 3350e9);
  EXPECT_LT(h100.achieved_bf16, h100.bf16);
  for (const Device& device : catalog.devices) {  // peaks rise as formats shrink, where both are known
    if (device.fp8 > 0 && device.half_peak() > 0) {
      EXPECT_GE(device.fp8, device.half_peak()) << device.name;
    }
    if (device.fp32 > 0 && device.half_peak() > 0) {
      EXPECT_GE(device.half_peak(), device.fp32) << device.name;
    }
  }
}

TEST(DeviceCatalog, NamesOfRowsAreFound) {
  const Catalog catalog = load_catalog();
  const auto name = [&](std::string_view text) {
    const Device* device = find_device(catalog, text);
    return device == nullptr ? std::string("none") : device->name;
  };
  EXPECT_EQ(name("4x NVIDIA RTX 5090 32GB, CUDA 12.9"), "rtx5090");
  EXPECT_EQ(name("A100 80GB SXM (Jean Zay, 8/node)"), "a100-80g-jean-zay");
  EXPECT_EQ(name("A100 80GB SXM (Selene)"), "a100-80g");
  EXPECT_EQ(name("A100 40GB SXM"), "a100-40g");
  EXPECT_EQ(name("NVIDIA H100 80GB HBM3"), "h100-80g");
  EXPECT_EQ(name("TPU v5p"), "none");
  EXPECT_EQ(name(""), "none");
}

TEST(DeviceCatalog, NoNameIsGivenTwice) {
  std::set<std::string> seen;
  for (const Device& device : load_catalog().devices)
    for (size_t i = 1; i < device.names.size(); ++i)
      EXPECT_TRUE(seen.insert(device.names[i]).second) << device.names[i];
}

TEST(DeviceCatalog, AFolderOfTheUserReplacesAndAdds) {
  const Folder folder;
  folder.write("devices.csv",
               "device,figure,value,unit,source,date\nh100-80g,power,650,W,our meter,2026-11-01\n"
               "mine,memory,12,GiB,its box,2025\n");
  folder.write("prices.csv",
               "device,kind,provider,usd,unit,source,date\nmine,spot,us,0.1,hour,invoice,2026-10\n"
               "l40s,on_demand,us,99,hour,invoice,2026-10\n");
  const Catalog catalog = load_catalog(folder.path);
  EXPECT_EQ(require_device(catalog, "h100-80g", "d").power_watts, 650);
  EXPECT_EQ(require_device(catalog, "h100-80g", "d").bf16, 989e12);
  EXPECT_EQ(require_device(catalog, "mine", "d").memory_bytes, int64_t{12} << 30);
  ASSERT_NE(cheapest(catalog, "mine", PriceKind::spot), nullptr);
  EXPECT_EQ(cheapest(catalog, "mine", PriceKind::buy), nullptr);
  // What the user pays counts, dearer or not; kinds that are not in the folder are ours.
  EXPECT_EQ(cheapest(catalog, "l40s", PriceKind::on_demand)->usd, 99);
  EXPECT_LT(cheapest(catalog, "l40s", PriceKind::spot)->usd, 99);
}

TEST(DeviceCatalog, RefusesWhatHasNoSourceDateOrUnit) {
  const Folder folder;
  const auto refuses = [&](const std::string& row) {
    folder.write("devices.csv", "device,figure,value,unit,source,date\n" + row + "\n");
    EXPECT_THROW(load_catalog(folder.path), Error) << row;
  };
  refuses("x,memory,80,GiB,,2024");
  refuses("x,memory,80,GiB,box,soon");
  refuses("x,memory,80,GB,box,2024");
  refuses("x,memory,-1,GiB,box,2024");
  refuses("x,weight,3,kg,box,2024");
  EXPECT_THROW(load_catalog("/nowhere/at/all"), Error);
}

}  // namespace
}  // namespace plimsoll
