// Money of serving: per million tokens beside what hosted models cost, and when buying beats renting.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cost/device_catalog.h"

namespace plimsoll {

struct ServingMoney {
  double usd_per_hour = 0;            // of all devices, rented
  double usd_per_million_output = 0;  // everything charged to the output
  double usd_per_million_total = 0;   // spread over prompt and output
};
ServingMoney rent_money(double usd_per_device_hour, int64_t devices, double output_per_second, double total_per_second);

struct ApiComparison {
  ApiPrice price;
  double usd_per_hour = 0;  // for the same tokens
  double times_ours = 0;    // that over what ours costs
};
std::vector<ApiComparison> compare_apis(const Catalog& catalog, const std::string& model, double prompt_per_second,
                                        double output_per_second, double our_usd_per_hour);

// Hours of use after which a bought device is cheaper than a rented one. A rented one is paid while it is used, a
// bought one draws power while it is used (idle power is left out) and `overhead` of its price a year for the rest of
// it (hosting, repair). Empty: never.
struct BuyOrRent {
  double buy_usd = 0, rent_usd_per_hour = 0, watts = 0, usd_per_kwh = 0;
  double utilisation = 1;     // share of the hours that it is used
  double overhead_share = 0;  // of the price, a year
};
std::optional<double> break_even_hours(const BuyOrRent& question);  // calendar hours

}  // namespace plimsoll
