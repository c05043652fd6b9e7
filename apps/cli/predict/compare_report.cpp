#include "cli/predict/compare_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"

namespace plimsoll::cli {
namespace {

using Json = nlohmann::ordered_json;

double number(const Json& from, const char* name) {
  const auto at = from.find(name);
  return at != from.end() && at->is_number() ? at->get<double>() : -1;
}

ComparedPlan own_plan(const Json& document, const std::string& source) {
  ComparedPlan plan;
  plan.name = source;
  plan.kind = "train on this machine";
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
    plan.kind = "train on devices";
    for (const auto& [name, size] : each.at("layout").items())
      if (size.get<int64_t>() > 1 || (name == "zero_stage" && size.get<int64_t>() > 0))
        plan.what += fmt::format("{}{} {}", plan.what.empty() ? "" : ", ", name, size.get<int64_t>());
    if (each.value("recompute", "") == "full") plan.what += plan.what.empty() ? "recompute" : ", recompute";
    const Json& bytes = each.at("bytes_per_device");
    for (const auto& [name, size] : bytes.items())
      if (name != "total" && size.get<double>() > 0) plan.parts.emplace_back(name, size.get<double>());
    plan.bytes = number(bytes, "total");
    plan.limit_bytes = number(document, "device_bytes");
    plan.seconds = number(each, "hours") * 3600;
    plan.tokens_per_second = number(each, "tokens_per_second");
    plan.usd = number(each, "usd");
    plans.push_back(std::move(plan));
  }
  if (!plans.empty() && document.at("fastest").is_object())
    for (const auto& [cause, seconds] : document.at("fastest").at("seconds_by_cause").items())
      plans.back().time_parts.emplace_back(cause, seconds.get<double>());
  return plans;
}

ComparedPlan serve_plan(const Json& document) {
  ComparedPlan plan;
  plan.devices = number(document, "devices");
  plan.name = fmt::format("{} on {:.0f} × {}", document.value("model", ""), plan.devices, document.value("device", ""));
  plan.kind = "serve";
  plan.what = fmt::format("first token after {:.2f} s, then one every {:.0f} ms (95 of 100)",
                          document.at("first_token_seconds").at("p95").get<double>(),
                          1e3 * document.at("between_tokens_seconds").at("p95").get<double>());
  plan.bytes = number(document, "weights_bytes_per_device");
  plan.parts.emplace_back("weights", plan.bytes);
  plan.limit_bytes = number(document, "device_bytes");
  plan.tokens_per_second = number(document, "output_tokens_per_second");
  const double price = number(document, "usd_per_device_hour");
  if (price > 0) plan.usd = price * plan.devices;
  plan.usd_per_million = number(document, "usd_per_million_output");
  return plan;
}

std::string time_text(double seconds) {
  if (seconds < 0) return "-";
  if (seconds < 120) return fmt::format("{:.1f} s", seconds);
  if (seconds < 7200) return fmt::format("{:.0f} min", seconds / 60);
  return seconds < 96 * 3600 ? fmt::format("{:.1f} h", seconds / 3600) : fmt::format("{:.1f} days", seconds / 86400);
}
std::string bytes_text(double bytes) { return bytes < 0 ? "-" : format_bytes(static_cast<int64_t>(bytes)); }
std::string usd_text(double usd) {
  return usd < 0 ? "-" : usd < 10 ? fmt::format("{:.2f}", usd) : format_thousands(static_cast<int64_t>(usd + 0.5));
}

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '&') result += "&amp;";
    else if (c == '<') result += "&lt;";
    else if (c == '>') result += "&gt;";
    else if (c == '"') result += "&quot;";
    else result += c;
  }
  return result;
}

std::string plain_words(std::string name) {
  std::replace(name.begin(), name.end(), '_', ' ');
  return name;
}

// A bar of parts on a scale of `whole`, with a line at `limit`; the legend stands below it, so that it needs no
// colours.
std::string bar_svg(const std::vector<std::pair<std::string, double>>& parts, double whole, double limit,
                    std::string_view label) {
  constexpr std::array<std::string_view, 8> kColours = {"#1f4e79", "#2e86ab", "#7fb7be", "#d3a518",
                                                        "#c8553d", "#6d597a", "#8d99ae", "#355e3b"};
  constexpr double kWidth = 640, kHeight = 56;
  std::string svg = fmt::format(
      "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\"><rect x=\"0\" y=\"8\" width=\"{}\" height=\"40\" "
      "class=\"empty\"/>",
      kWidth, kHeight, escaped(label), kWidth);
  double at = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const double width = kWidth * parts[i].second / whole;
    svg += fmt::format("<rect x=\"{:.1f}\" y=\"8\" width=\"{:.1f}\" height=\"40\" fill=\"{}\"><title>{}</title></rect>",
                       at, width, kColours[i % kColours.size()], escaped(plain_words(parts[i].first)));
    at += width;
  }
  if (limit > 0)
    svg += fmt::format("<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"0\" y2=\"{1}\" class=\"line\"/>",
                       kWidth * limit / whole, kHeight);
  svg += "</svg><ul class=\"legend\">";
  for (size_t i = 0; i < parts.size(); ++i)
    svg +=
        fmt::format("<li><i style=\"background:{}\"></i>{} {:.0f} %</li>", kColours[i % kColours.size()],
                    escaped(plain_words(parts[i].first)), 100 * parts[i].second / std::max(at / kWidth * whole, 1e-30));
  return svg + "</ul>";
}

constexpr std::string_view kStyle = R"(<style>
:root{color-scheme:light dark;--ink:#1b1b1b;--paper:#fff;--soft:#e8e8e8}
@media(prefers-color-scheme:dark){:root{--ink:#eee;--paper:#161616;--soft:#333}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:46rem;margin:auto;padding:1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin:2rem 0 .2rem}svg{width:100%;height:auto;display:block}
.empty{fill:var(--soft)}.line{stroke:#c00;stroke-width:3}.legend{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.9rem}
.legend i{display:inline-block;width:.8rem;height:.8rem;margin-right:.35rem}table{border-collapse:collapse;width:100%;font-size:.95rem}
td,th{padding:.3rem .5rem;text-align:right;border-bottom:1px solid var(--soft)}td:first-child,th:first-child{text-align:left}
.wide{overflow-x:auto}.fits{color:#177245}.over{color:#c00}
@media print{body{max-width:none}section{break-inside:avoid}*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
</style>)";

}  // namespace

std::vector<ComparedPlan> parse_compared(const std::string& json, const std::string& source) {
  try {
    const Json document = Json::parse(json);
    const std::string kind = document.is_object() ? document.value("kind", "") : "";
    if (kind == "search") return search_plans(document);
    if (kind == "serve-plan") return {serve_plan(document)};
    if (document.is_object() && document.contains("categories") && document.contains("arena_bytes"))
      return {own_plan(document, source)};
  } catch (const nlohmann::json::exception& error) {
    throw caller_error(one_line(source, 120), std::string("is no plan: ") + error.what(),
                       "give what plan, search or serve-plan wrote with --json");
  }
  throw caller_error(one_line(source, 120), "is no plan", "give what plan, search or serve-plan wrote with --json");
}

std::string compare_text(const std::vector<ComparedPlan>& plans) {
  std::string text = fmt::format("{:<40}{:>9}{:>12}{:>12}{:>12}{:>12}{:>12}\n", "plan", "devices", "a device",
                                 "its line", "time", "tokens/s", "USD");
  for (const ComparedPlan& plan : plans)
    text += fmt::format("{:<40}{:>9.0f}{:>12}{:>12}{:>12}{:>12}{:>12}\n", one_line(plan.name, 39), plan.devices,
                        bytes_text(plan.bytes), bytes_text(plan.limit_bytes), time_text(plan.seconds),
                        plan.tokens_per_second < 0 ? "-" : fmt::format("{:.0f}", plan.tokens_per_second),
                        usd_text(plan.usd));
  return text;
}

std::string compare_html(const std::vector<ComparedPlan>& plans) {
  std::string page =
      "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\"><title>Plans compared</title>";
  page += kStyle;
  page +=
      "</head><body><h1>Plans compared</h1><p>Each bar is the memory of one device. The red line is how much it has: a "
      "bar that stays left of it fits.</p><div class=\"wide\"><table><tr><th>plan</th><th>devices</th><th>a "
      "device</th><th>time</th><th>tokens/s</th><th>USD</th><th>USD per million</th></tr>";
  for (const ComparedPlan& plan : plans)
    page += fmt::format("<tr><td>{}</td><td>{:.0f}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                        escaped(plan.name), plan.devices, bytes_text(plan.bytes), time_text(plan.seconds),
                        plan.tokens_per_second < 0 ? "-" : fmt::format("{:.0f}", plan.tokens_per_second),
                        usd_text(plan.usd), usd_text(plan.usd_per_million));
  page += "</table></div>";
  for (const ComparedPlan& plan : plans) {
    page += fmt::format("<section><h2>{}</h2><p>{}: {}.", escaped(plan.name), escaped(plan.kind), escaped(plan.what));
    const bool limited = plan.limit_bytes > 0;
    if (limited)
      page += plan.bytes <= plan.limit_bytes ? fmt::format(" <b class=\"fits\">It fits</b>: {} of {}.",
                                                           bytes_text(plan.bytes), bytes_text(plan.limit_bytes))
                                             : fmt::format(" <b class=\"over\">It does not fit</b>: {} of {}.",
                                                           bytes_text(plan.bytes), bytes_text(plan.limit_bytes));
    page += "</p>";
    if (plan.bytes > 0 && !plan.parts.empty())
      page += bar_svg(plan.parts, 1.02 * std::max(plan.bytes, plan.limit_bytes), plan.limit_bytes,
                      fmt::format("{} of {}", bytes_text(plan.bytes), bytes_text(plan.limit_bytes)));
    if (!plan.time_parts.empty()) {
      double whole = 0;
      for (const auto& part : plan.time_parts) whole += part.second;
      page += fmt::format("<p>Where the {} of a step go:</p>", time_text(whole));
      page += bar_svg(plan.time_parts, whole, -1, "time by cause");
    }
    page += "</section>";
  }
  return page +
         "<p>Bytes of other engines and all seconds are predictions; their error on measured runs is what plimsoll "
         "validate shows. Prices are list prices of the day that the catalogue names.</p></body></html>\n";
}

}  // namespace plimsoll::cli
