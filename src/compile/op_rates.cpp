#include "compile/op_rates.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string_view>

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

namespace {

// A second for each flop or byte would be more than any machine takes.
bool is_rate(double value) { return value >= 0 && value <= 1; }

}  // namespace

OpRates parse_op_rates(const std::string& json, const std::string& source) {
  const auto refuse = [&](const std::string& what) {
    return caller_error(source, what, "make it again with plimsoll calibrate");
  };
  OpRates calibration;
  try {
    const auto document = nlohmann::json::parse(json);
    if (!document.is_object() || !document.contains("ops") || !document["ops"].is_object() || document["ops"].empty())
      throw refuse("is no calibration: it has no ops");
    calibration.threads = document.at("threads").get<int>();
    calibration.took_seconds = document.at("took_seconds").get<double>();
    calibration.waited_share = document.value("waited_share", 0.0);
    if (calibration.threads < 1 || !(calibration.took_seconds >= 0) || !is_rate(calibration.waited_share))
      throw refuse("has threads, seconds or a share that cannot be");
    for (const auto& [name, rates] : document.at("ops").items()) {
      for (int kind = 0; kind < kOpKindCount; ++kind) {
        if (name != name_of(static_cast<OpKind>(kind))) continue;
        OpRate& rate = calibration.rates[static_cast<size_t>(kind)];
        const auto bytes = rates.at("seconds_per_byte").get<double>();
        // Older files have one rate for all bytes.
        rate = {rates.at("seconds_per_flop").get<double>(), bytes, rates.value("seconds_per_weight_byte", bytes),
                rates.at("seconds_per_call").get<double>(), true};
        for (const double each :
             {rate.seconds_per_flop, rate.seconds_per_byte, rate.seconds_per_weight_byte, rate.seconds_per_call})
          if (!is_rate(each)) throw refuse("a rate of " + name + " cannot be");
      }
    }
  } catch (const nlohmann::json::exception& error) {
    // Without the library's own "[json.exception.type_error.304] ".
    const std::string_view what = error.what();
    throw refuse(fmt::format("is no calibration:{}", what.substr(what.find(']') + 1)));
  }
  return calibration;
}

}  // namespace plimsoll
