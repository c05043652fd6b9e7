#include "compile/op_rates.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace plimsoll {

std::string op_rates_json(const OpRates& calibration) {
  nlohmann::ordered_json ops = nlohmann::ordered_json::object();
  for (size_t kind = 0; kind < static_cast<size_t>(kOpKindCount); ++kind) {
    const OpRate& rate = calibration.rates[kind];
    if (rate.known)
      ops[name_of(static_cast<OpKind>(kind))] = {{"seconds_per_flop", rate.seconds_per_flop},
                                                 {"seconds_per_byte", rate.seconds_per_byte},
                                                 {"seconds_per_weight_byte", rate.seconds_per_weight_byte},
                                                 {"seconds_per_call", rate.seconds_per_call}};
  }
  return nlohmann::ordered_json{{"threads", calibration.threads},
                                {"took_seconds", calibration.took_seconds},
                                {"waited_share", calibration.waited_share},
                                {"ops", ops}}
             .dump(2) +
         "\n";
}

OpRates parse_op_rates(const std::string& json, const std::string& source) {
  OpRates calibration;
  try {
    const auto document = nlohmann::json::parse(json);
    calibration.threads = document.at("threads").get<int>();
    calibration.took_seconds = document.at("took_seconds").get<double>();
    calibration.waited_share = document.value("waited_share", 0.0);
    for (const auto& [name, rates] : document.at("ops").items()) {
      for (int kind = 0; kind < kOpKindCount; ++kind) {
        if (name != name_of(static_cast<OpKind>(kind))) continue;
        OpRate& rate = calibration.rates[static_cast<size_t>(kind)];
        const auto bytes = rates.at("seconds_per_byte").get<double>();
        // Older files have one rate for all bytes.
        rate = {rates.at("seconds_per_flop").get<double>(), bytes, rates.value("seconds_per_weight_byte", bytes),
                rates.at("seconds_per_call").get<double>(), true};
        if (!(rate.seconds_per_flop >= 0) || !(rate.seconds_per_byte >= 0) || !(rate.seconds_per_weight_byte >= 0) ||
            !(rate.seconds_per_call >= 0))
          throw caller_error(source, "a rate of " + name + " is below 0", "make it again with plimsoll calibrate");
      }
    }
  } catch (const nlohmann::json::exception& error) {
    throw caller_error(source, std::string("is no calibration: ") + error.what(),
                       "make it again with plimsoll calibrate");
  }
  return calibration;
}

}  // namespace plimsoll
