#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>

#include "base/figures.h"
#include "base/text.h"
#include "cli/predict/compare_report.h"

namespace plimsoll::cli {
namespace {

using Parts = std::vector<std::pair<std::string, double>>;

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

constexpr std::array<std::string_view, 8> kColours = {"#1f4e79", "#2e86ab", "#7fb7be", "#d3a518",
                                                      "#c8553d", "#6d597a", "#8d99ae", "#355e3b"};
constexpr double kWidth = 640;

// A bar of parts on a scale of `whole`, with a line at `limit`; the legend stands below it, so that it needs no
// colours.
std::string bar_svg(const Parts& parts, double whole, double limit, std::string_view label) {
  constexpr double kHeight = 56;
  double sum = 0;
  for (const auto& part : parts) sum += part.second;
  std::string svg = fmt::format(
      "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\"><rect x=\"0\" y=\"8\" width=\"{}\" height=\"40\" "
      "class=\"empty\"/>",
      kWidth, kHeight, escaped(label), kWidth);
  std::string legend;
  double at = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const double width = kWidth * parts[i].second / whole;
    const std::string name = escaped(plain_words(parts[i].first));
    const std::string_view colour = kColours[i % kColours.size()];
    svg += fmt::format("<rect x=\"{:.1f}\" y=\"8\" width=\"{:.1f}\" height=\"40\" fill=\"{}\"><title>{}</title></rect>",
                       at, width, colour, name);
    at += width;
    const double percent = 100 * parts[i].second / std::max(sum, 1e-30);
    if (percent >= 0.5)
      legend += fmt::format("<li><i style=\"background:{}\"></i>{} {:.0f} %</li>", colour, name, percent);
  }
  if (limit > 0)
    svg += fmt::format("<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"0\" y2=\"{1}\" class=\"line\"/>",
                       kWidth * limit / whole, kHeight);
  return svg + "</svg><ul class=\"legend\">" + legend + "</ul>";
}

// One row a plan on a common scale: how long, how much. Text is text, so that it stays readable on a phone.
template <typename Value, typename Label>
std::string comparison(std::string_view title, const std::vector<ComparedPlan>& plans, Value value, Label label) {
  double most = 0;
  int64_t known = 0;
  for (const ComparedPlan& plan : plans)
    if (value(plan) >= 0) most = std::max(most, value(plan)), ++known;
  if (known < 2 || most <= 0) return "";
  std::string text = fmt::format("<section class=\"all\"><h2>{}</h2><dl>", title);
  for (const ComparedPlan& plan : plans) {
    if (value(plan) < 0) continue;
    text += fmt::format(
        "<dt>{}</dt><dd><svg viewBox=\"0 0 {} 16\" role=\"img\" aria-label=\"{}\"><rect y=\"2\" width=\"{}\" "
        "height=\"12\" "
        "class=\"empty\"/><rect y=\"2\" width=\"{:.1f}\" height=\"12\" fill=\"#2e86ab\"/></svg><b>{}</b></dd>",
        escaped(plan.name), kWidth, label(plan), kWidth, std::max(2.0, kWidth * value(plan) / most), label(plan));
  }
  return text + "</dl></section>";
}

// A step is never ranked beside a run; where there are only steps, they are, as steps.
bool runs_are_there(const std::vector<ComparedPlan>& plans) {
  return std::any_of(plans.begin(), plans.end(),
                     [](const ComparedPlan& plan) { return !plan.one_step && plan.seconds >= 0; });
}

struct Ranked {
  bool runs = true;
  std::function<double(const ComparedPlan&)> time, money;
};
Ranked ranked_of(const std::vector<ComparedPlan>& plans) {
  const bool runs = runs_are_there(plans);
  return {runs, [runs](const ComparedPlan& plan) { return runs && plan.one_step ? -1 : plan.seconds; },
          [runs](const ComparedPlan& plan) { return plan.usd_an_hour || (runs && plan.one_step) ? -1 : plan.usd; }};
}

// The first lines: what a reader would pick.
std::string verdict(const std::vector<ComparedPlan>& plans, const Ranked& ranked) {
  const auto best = [&](auto value) {
    const ComparedPlan* found = nullptr;
    int64_t known = 0;
    for (const ComparedPlan& plan : plans) {
      if (value(plan) < 0 || (plan.limit_bytes > 0 && plan.bytes > plan.limit_bytes)) continue;
      ++known;
      if (found == nullptr || value(plan) < value(*found)) found = &plan;
    }
    return known > 1 ? found : nullptr;
  };
  std::string text;
  if (const ComparedPlan* plan = best(ranked.money))
    text += fmt::format("<li><b>Cheapest:</b> {} ({} USD{})</li>", escaped(plan->name), usd_text(plan->usd),
                        plan->one_step    ? " a step"
                        : plan->calls > 0 ? fmt::format(" with {} calls", format_number(plan->calls))
                                          : "");
  if (const ComparedPlan* plan = best(ranked.time))
    text += fmt::format("<li><b>Fastest:</b> {} ({})</li>", escaped(plan->name), plan_time_text(*plan));
  if (const ComparedPlan* plan = best([](const ComparedPlan& each) { return each.devices; }))
    text += fmt::format("<li><b>Fewest devices:</b> {} ({:.0f})</li>", escaped(plan->name), plan->devices);
  return text.empty() ? "" : "<ul class=\"verdict\">" + text + "</ul>";
}

constexpr std::string_view kStyle = R"(<style>
:root{color-scheme:light dark;--ink:#1b1b1b;--paper:#fff;--soft:#e8e8e8;--good:#177245;--bad:#c00}
@media(prefers-color-scheme:dark){:root{--ink:#eee;--paper:#161616;--soft:#333;--good:#5fd08f;--bad:#ff6b6b}}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:46rem;margin:auto;padding:1rem;overflow-wrap:anywhere}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin:2rem 0 .2rem}svg{width:100%;height:auto;display:block}
.empty{fill:var(--soft)}.line{stroke:#c00;stroke-width:3}
.legend{list-style:none;padding:0;margin:.4rem 0;display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.9rem}
.legend i{display:inline-block;width:.8rem;height:.8rem;margin-right:.35rem}
.verdict{padding-left:1.2rem}dl{margin:.3rem 0}dt{font-size:.9rem;margin-top:.5rem}dd{margin:0;display:grid;grid-template-columns:1fr 6.5rem;gap:.6rem;align-items:center}
dd b{white-space:nowrap}table{border-collapse:collapse;width:100%;font-size:.95rem}
td,th{overflow-wrap:normal;padding:.3rem .5rem;text-align:right;border-bottom:1px solid var(--soft)}td:first-child,th:first-child{text-align:left}td:nth-child(n+2):nth-child(-n+4){white-space:nowrap}
.fits{color:var(--good)}.over{color:var(--bad)}
@media screen and (max-width:40rem){table,tbody,tr,td{display:block;width:100%}tr:first-child{display:none}
tr{border-bottom:2px solid var(--soft);padding:.5rem 0}td{border:0;padding:.1rem 0;display:flex;justify-content:space-between;text-align:right}
td.none{display:none}td:first-child{font-weight:600}td[data-name]::before{content:attr(data-name);opacity:.75;margin-right:1rem}}
@media print{:root{--ink:#000;--paper:#fff;--soft:#ddd}body{max-width:none;font-size:11pt}h2{margin-top:1.2rem}section,tr{break-inside:avoid}.all{break-inside:auto}dt{break-after:avoid}*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
</style>)";

std::string cell(std::string_view name, const std::string& value) {
  return fmt::format("<td data-name=\"{}\"{}>{}</td>", name, value == "-" ? " class=\"none\"" : "", value);
}

std::string money(const ComparedPlan& plan) {
  return usd_text(plan.usd) + (plan.usd < 0       ? ""
                               : plan.usd_an_hour ? " an hour"
                               : plan.one_step    ? " a step"
                               : plan.calls > 0   ? fmt::format(" with {} calls", format_number(plan.calls))
                                                  : "");
}

std::string table(const std::vector<ComparedPlan>& plans) {
  std::string text =
      "<table><tr><th>plan</th><th>devices</th><th>memory of one</th><th>time</th><th>tokens a "
      "second</th><th>USD</th><th>USD per million tokens</th></tr>";
  for (const ComparedPlan& plan : plans)
    text +=
        fmt::format("<tr><td>{}</td>", escaped(plan.name)) + cell("devices", fmt::format("{:.0f}", plan.devices)) +
        cell("memory of one", bytes_text(plan.bytes)) + cell("time", plan_time_text(plan)) +
        cell("tokens a second",
             plan.tokens_per_second < 0 ? "-" : format_thousands(static_cast<int64_t>(plan.tokens_per_second + 0.5))) +
        cell("USD", money(plan)) + cell("USD per million tokens", usd_text(plan.usd_per_million)) + "</tr>";
  return text + "</table>";
}

std::string section(const ComparedPlan& plan) {
  std::string text =
      fmt::format("<section><h2>{}</h2><p>{}: {}.", escaped(plan.name), escaped(plan.kind), escaped(plan.what));
  if (plan.limit_bytes > 0 && plan.bytes >= 0)
    text += plan.bytes <= plan.limit_bytes ? fmt::format(" <b class=\"fits\">It fits</b>: {} of {}.",
                                                         bytes_text(plan.bytes), bytes_text(plan.limit_bytes))
                                           : fmt::format(" <b class=\"over\">It does not fit</b>: {} of {}.",
                                                         bytes_text(plan.bytes), bytes_text(plan.limit_bytes));
  text += "</p>";
  if (plan.bytes > 0 && !plan.parts.empty())
    text += bar_svg(plan.parts, 1.02 * std::max(plan.bytes, plan.limit_bytes), plan.limit_bytes,
                    fmt::format("{} of {}", bytes_text(plan.bytes), bytes_text(plan.limit_bytes)));
  if (!plan.time_parts.empty()) {
    double whole = 0;
    for (const auto& part : plan.time_parts) whole += part.second;
    text += fmt::format("<p>Where the {} of a step go:</p>", time_text(whole));
    text += bar_svg(plan.time_parts, whole, -1, "time by cause");
  }
  return text + "</section>";
}

}  // namespace

std::string compare_html(const std::vector<ComparedPlan>& plans) {
  std::string page =
      "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\"><title>Plans compared</title>";
  page += kStyle;
  const Ranked ranked = ranked_of(plans);
  page += "</head><body><h1>Plans compared</h1>" + verdict(plans, ranked) + table(plans);
  page += comparison(ranked.runs ? "How long" : "How long, of a step", plans, ranked.time, plan_time_text);
  page += comparison(ranked.runs ? "How much" : "How much, of a step", plans, ranked.money,
                     [](const ComparedPlan& plan) { return usd_text(plan.usd) + " USD"; });
  page +=
      "<h2>What fills the memory</h2><p>Each bar is the memory of one device. The red line is how much it has: a bar "
      "that "
      "stays left of it fits.</p>";
  for (const ComparedPlan& plan : plans) page += section(plan);
  return page +
         "<p>Bytes of other engines and all seconds are predictions; their error on measured runs is what plimsoll "
         "validate shows. Prices are list prices of the day that the catalogue names.</p></body></html>\n";
}

}  // namespace plimsoll::cli
