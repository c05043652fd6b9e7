#include "cli/predict/compare_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/error.h"
#include "base/figures.h"
#include "base/table.h"
#include "base/text.h"

namespace plimsoll::cli {
namespace {

using Json = nlohmann::ordered_json;

double number(const Json& from, const char* name) {
  const auto at = from.find(name);
  const double value = at != from.end() && at->is_number() ? at->get<double>() : -1;
  return value >= 0 && std::isfinite(value) ? value : -1;
}

ComparedPlan own_plan(const Json& document, const std::string& source) {
  ComparedPlan plan;
  plan.name = source;
  plan.kind = "Training on this machine";
  plan.bytes = number(document, "total_bytes");
  plan.limit_bytes = number(document, "budget_bytes");
  double known = 0;
  for (const auto& [name, bytes] : document.at("categories").items())
    if (bytes.get<double>() > 0) {
      plan.parts.emplace_back(name, bytes.get<double>());
      known += bytes.get<double>();
    }
  if (plan.bytes > known) plan.parts.emplace_back("rest of the process", plan.bytes - known);
  plan.what = fmt::format("peak in {}", document.at("peak").value("phase", ""));
  return plan;
}

// What the layout means to somebody who has never cut a model.
std::string layout_words(const Json& layout, bool recompute) {
  const auto size = [&](const char* name) { return layout.value(name, int64_t{1}); };
  std::string words;
  const auto say = [&](const std::string& text) { words += (words.empty() ? "" : "; ") + text; };
  if (size("data") > 1) say(fmt::format("{} groups of devices read different texts", size("data")));
  if (size("tensor") > 1) say(fmt::format("each layer is cut over {} devices (tensor)", size("tensor")));
  if (size("pipeline") > 1) say(fmt::format("the layers stand on {} stages (pipeline)", size("pipeline")));
  if (size("context") > 1) say(fmt::format("each text is cut into {} (context)", size("context")));
  if (size("expert") > 1) say(fmt::format("the experts are spread over {}", size("expert")));
  constexpr std::array<std::string_view, 3> kShared = {"the optimizer's memory is",
                                                       "the optimizer's memory and gradients are",
                                                       "the optimizer's memory, gradients and weights are"};
  if (const int64_t zero = layout.value("zero_stage", int64_t{0}); zero >= 1 && zero <= 3)
    say(fmt::format("{} shared out among the groups (ZeRO-{})", kShared[static_cast<size_t>(zero - 1)], zero));
  if (recompute) say("activations are computed again instead of kept");
  return words.empty() ? "one device does everything" : words;
}

// "dp 4, tp 2, ZeRO-1": so that two plans on as many devices have two names.
std::string layout_name(const Json& layout, bool recompute) {
  std::string name;
  const auto say = [&](const std::string& text) { name += (name.empty() ? "" : ", ") + text; };
  constexpr std::array<std::pair<const char*, const char*>, 5> kCuts = {
      {{"data", "dp"}, {"tensor", "tp"}, {"pipeline", "pp"}, {"context", "cp"}, {"expert", "ep"}}};
  for (const auto& [key, word] : kCuts)
    if (const int64_t size = layout.value(key, int64_t{1}); size > 1) say(fmt::format("{} {}", word, size));
  if (const int64_t zero = layout.value("zero_stage", int64_t{0}); zero > 0) say(fmt::format("ZeRO-{}", zero));
  if (recompute) say("recomputed");
  return name;
}

std::vector<ComparedPlan> search_plans(const Json& document) {
  constexpr size_t kMost = 5;
  std::vector<ComparedPlan> plans;
  const Json& front = document.at("pareto");
  // The ends of the front and what lies evenly between them.
  for (size_t i = 0; i < std::min(kMost, front.size()); ++i) {
    const size_t at = front.size() <= kMost ? i : i * (front.size() - 1) / (kMost - 1);
    const Json& each = front[at];
    ComparedPlan plan;
    plan.devices = number(each, "devices");
    plan.name =
        fmt::format("{} on {:.0f} × {}", document.value("model", ""), plan.devices, document.value("device", ""));
    plan.kind = "Training";
    const bool recompute = each.value("recompute", "") == "full";
    plan.what = layout_words(each.at("layout"), recompute);
    if (const std::string layout = layout_name(each.at("layout"), recompute); !layout.empty())
      plan.name += fmt::format(" ({})", layout);
    const Json& bytes = each.at("bytes_per_device");
    for (const auto& [name, size] : bytes.items())
      if (name != "total" && size.get<double>() > 0) plan.parts.emplace_back(name, size.get<double>());
    plan.bytes = number(bytes, "total");
    // The engine's profile has the last word: its figure, with the kinds in their proportion.
    if (const auto engine = each.find("engine_bytes_per_device"); engine != each.end() && engine->is_object()) {
      const double used = number(*engine, "device_used");
      for (auto& part : plan.parts) part.second *= used / plan.bytes;
      plan.bytes = used;
    }
    plan.limit_bytes = number(document, "device_bytes");
    plan.seconds = number(each, "hours") * 3600;
    // Without --tokens a search counts one step.
    if (const double step = number(each, "step_seconds"); step > 0 && plan.seconds < 1.5 * step) {
      plan.one_step = true;
      plan.what += "; time and money are of one step";
    }
    plan.tokens_per_second = number(each, "tokens_per_second");
    plan.usd = number(each, "usd");
    plans.push_back(std::move(plan));
  }
  if (!plans.empty() && document.at("fastest").is_object())
    for (const auto& [cause, seconds] : document.at("fastest").at("seconds_by_cause").items())
      plans.back().time_parts.emplace_back(cause, seconds.get<double>());
  return plans;
}

std::vector<ComparedPlan> approach_plans(const Json& document) {
  std::vector<ComparedPlan> plans;
  for (const Json& each : document.at("approaches")) {
    ComparedPlan plan;
    plan.name = fmt::format("{}: {}", document.value("model", ""), each.value("name", ""));
    const bool trains = number(each, "steps") > 0;
    plan.kind = trains ? "Training" : "No training";
    plan.devices =
        trains ? number(each, "devices") + number(each, "generating_devices") : number(each, "serve_devices");
    if (!each.value("fits", false)) {
      plan.what = "does not fit: " + each.value("what_stops", "");
      plans.push_back(std::move(plan));
      continue;
    }
    for (const Json& model : each.at("models"))
      plan.what += fmt::format("{}{}{}", plan.what.empty() ? "in memory: " : ", ", model.value("role", ""),
                               model.value("trained", false) ? " (trained)" : "");
    plan.bytes = number(each, "bytes_per_device");
    plan.limit_bytes = number(document, "device_bytes");
    double states = 0;
    if (trains)
      for (const Json& model : each.at("models")) {
        const double bytes =
            (number(model, "weights_bytes") + number(model, "gradients_bytes") + number(model, "optimizer_bytes")) /
            std::max(1.0, number(each, "devices"));
        plan.parts.emplace_back(model.value("role", ""), bytes);
        states += bytes;
      }
    if (plan.bytes > states)
      plan.parts.emplace_back(trains ? "activations, cache, workspace" : "weights and cache", plan.bytes - states);
    if (trains) {
      plan.seconds = number(each, "hours") * 3600;
      for (const Json& phase : each.at("phases"))
        plan.time_parts.emplace_back(phase.value("name", ""), number(phase, "seconds"));
    }
    plan.usd = number(each, "usd_total");
    if (plan.usd >= 0) plan.calls = std::max(0.0, number(document, "calls"));
    if (const double training = number(each, "usd_training"); plan.calls > 0 && training > 0)
      plan.what +=
          fmt::format("; training costs {} USD, the rest {} calls", usd_text(training), format_number(plan.calls));
    plans.push_back(std::move(plan));
  }
  return plans;
}

ComparedPlan serve_plan(const Json& document) {
  ComparedPlan plan;
  plan.devices = number(document, "devices");
  plan.name = fmt::format("{} on {:.0f} × {}", document.value("model", ""), plan.devices, document.value("device", ""));
  plan.kind = "Serving";
  plan.what = fmt::format("first token after {:.2f} s, then one every {:.0f} ms (95 of 100)",
                          document.at("first_token_seconds").at("p95").get<double>(),
                          1e3 * document.at("between_tokens_seconds").at("p95").get<double>());
  plan.bytes = number(document, "weights_bytes_per_device");
  plan.parts.emplace_back("weights", plan.bytes);
  for (const auto& [key, name] : {std::pair{"cache_bytes_per_device", "cache of conversations"},
                                  std::pair{"workspace_bytes_per_device", "workspace"}})
    if (const double bytes = number(document, key); bytes > 0) {
      plan.parts.emplace_back(name, bytes);
      plan.bytes += bytes;
    }
  plan.limit_bytes = number(document, "device_bytes");
  plan.tokens_per_second = number(document, "output_tokens_per_second");
  const double price = number(document, "usd_per_device_hour");
  if (price > 0) plan.usd = price * plan.devices;
  plan.usd_an_hour = true;
  plan.usd_per_million = number(document, "usd_per_million_output");
  return plan;
}

// `plan --engine`: the seconds are those of a step.
ComparedPlan engine_plan(const Json& document) {
  ComparedPlan plan;
  plan.devices = number(document, "devices");
  plan.name = fmt::format("{} with {} on {:.0f} device{}", document.value("model", ""), document.value("engine", ""),
                          plan.devices, plan.devices == 1 ? "" : "s");
  plan.kind = "Training";
  plan.bytes = number(document.at("device_used"), "bytes");
  plan.limit_bytes = number(document, "budget_bytes");
  double known = 0;
  for (const auto& [name, bytes] : document.at("at_peak").items())
    if (bytes.get<double>() > 0) {
      plan.parts.emplace_back(name, bytes.get<double>());
      known += bytes.get<double>();
    }
  if (plan.bytes > known) plan.parts.emplace_back("allocator and process", plan.bytes - known);
  plan.what = fmt::format("peak in {}", document.at("peak").value("phase", ""));
  const Json& time = document.at("time");
  if (!time.is_object()) return plan;
  plan.one_step = true;
  plan.what += "; the time is of one step";
  plan.seconds = number(time, "step_seconds");
  plan.tokens_per_second = number(time, "tokens_per_second_per_device") * plan.devices;
  if (const double usd = number(time, "usd_per_hour"); usd > 0) {
    plan.usd = usd;
    plan.usd_per_million = usd / 3600 / plan.tokens_per_second * 1e6;
  }
  plan.usd_an_hour = true;
  for (const auto& [cause, seconds] : time.at("seconds_by_cause").items())
    plan.time_parts.emplace_back(cause, seconds.get<double>());
  return plan;
}

}  // namespace

std::string time_text(double seconds) { return seconds < 0 ? "-" : format_seconds(seconds); }
std::string bytes_text(double bytes) { return bytes < 0 ? "-" : format_bytes(static_cast<int64_t>(bytes)); }
std::string usd_text(double usd) { return usd < 0 ? "-" : format_usd(usd); }

std::string plan_time_text(const ComparedPlan& plan) {
  return time_text(plan.seconds) + (plan.one_step && plan.seconds >= 0 ? " a step" : "");
}

std::vector<ComparedPlan> parse_compared(const std::string& json, const std::string& source) {
  try {
    const Json document = Json::parse(json);
    const std::string kind = document.is_object() ? document.value("kind", "") : "";
    if (kind == "search") return search_plans(document);
    if (kind == "serve-plan") return {serve_plan(document)};
    if (kind == "engine") return {engine_plan(document)};
    if (kind == "approaches") return approach_plans(document);
    if (document.is_object() && document.contains("categories") && document.contains("arena_bytes"))
      return {own_plan(document, source)};
  } catch (const nlohmann::json::exception& error) {
    // Without the library's own "[json.exception.parse_error.101] ".
    const std::string_view what = error.what();
    throw caller_error(one_line(source, 120), fmt::format("is no plan:{}", what.substr(what.find(']') + 1)),
                       "give what plan, search, serve-plan or approaches wrote with --json");
  }
  throw caller_error(one_line(source, 120), "is no plan",
                     "give what plan, search, serve-plan or approaches wrote with --json");
}

std::string compare_text(const std::vector<ComparedPlan>& plans) {
  const std::vector<Column> columns = {{"plan", true}, {"devices"},  {"a device"}, {"its line"},
                                       {"time"},       {"tokens/s"}, {"USD"}};
  std::vector<std::vector<std::string>> rows;
  double calls = 0;
  for (const ComparedPlan& plan : plans) calls = std::max(calls, plan.calls);
  for (const ComparedPlan& plan : plans)
    rows.push_back({one_line(plan.name, 76), fmt::format("{:.0f}", plan.devices), bytes_text(plan.bytes),
                    bytes_text(plan.limit_bytes), plan_time_text(plan),
                    plan.tokens_per_second < 0 ? "-" : format_number(plan.tokens_per_second),
                    usd_text(plan.usd) + (plan.usd < 0       ? ""
                                          : plan.usd_an_hour ? "/h"
                                          : plan.one_step    ? "/step"
                                          : plan.calls > 0   ? "*"
                                                             : "")});
  return table_text(columns, rows, 0) +
         (calls > 0 ? fmt::format("* with {} calls afterwards\n", format_number(calls)) : "");
}

}  // namespace plimsoll::cli
