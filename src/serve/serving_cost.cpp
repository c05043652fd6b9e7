#include "serve/serving_cost.h"

#include <algorithm>

namespace plimsoll {

ServingMoney rent_money(double usd_per_device_hour, int64_t devices, double output_per_second,
                        double total_per_second) {
  ServingMoney money;
  money.usd_per_hour = usd_per_device_hour * static_cast<double>(devices);
  const auto per_million = [&](double tokens_per_second) {
    return tokens_per_second > 0 ? money.usd_per_hour / (tokens_per_second * 3600) * 1e6 : 0.0;
  };
  money.usd_per_million_output = per_million(output_per_second);
  money.usd_per_million_total = per_million(total_per_second);
  return money;
}

std::vector<ApiComparison> compare_apis(const Catalog& catalog, const std::string& model, double prompt_per_second,
                                        double output_per_second, double our_usd_per_hour) {
  std::vector<ApiComparison> found;
  for (const ApiPrice& price : catalog.api_prices) {
    if (price.model != model) continue;
    ApiComparison row;
    row.price = price;
    row.usd_per_hour = 3600e-6 * (prompt_per_second * price.usd_input + output_per_second * price.usd_output);
    row.times_ours = our_usd_per_hour > 0 ? row.usd_per_hour / our_usd_per_hour : 0;
    found.push_back(row);
  }
  std::sort(found.begin(), found.end(),
            [](const ApiComparison& a, const ApiComparison& b) { return a.usd_per_hour < b.usd_per_hour; });
  return found;
}

std::optional<double> break_even_hours(const BuyOrRent& question) {
  constexpr double kHoursAYear = 8766;
  const double rented = question.rent_usd_per_hour * question.utilisation;
  const double bought = question.watts / 1000 * question.usd_per_kwh * question.utilisation +
                        question.overhead_share * question.buy_usd / kHoursAYear;
  if (question.buy_usd <= 0 || rented <= bought) return std::nullopt;
  return question.buy_usd / (rented - bought);
}

}  // namespace plimsoll
