// Plans side by side: a table, and a page for a reader who is no engineer.
#pragma once

#include <string>
#include <vector>

namespace plimsoll::cli {

// One plan, whatever command wrote it. Numbers below 0 are unknown.
struct ComparedPlan {
  std::string name;                     // of the file, or model and command
  std::string kind;                     // "Training", "Training on this machine", "No training", "Serving"
  std::string what;                     // one line about it
  double bytes = -1, limit_bytes = -1;  // of one device, and its line
  std::vector<std::pair<std::string, double>> parts;  // bytes by kind; they add up to `bytes`
  double devices = 1;
  double seconds = -1;  // of the run, or of a step where no length is known
  double tokens_per_second = -1;
  double usd = -1;   // of the run; of an hour for serving; with its calls
  double calls = 0;  // afterwards, whose price is in `usd`
  bool usd_an_hour = false;
  bool one_step = false;        // seconds and USD are of a step, not of a run: nothing to rank runs by
  double usd_per_million = -1;  // tokens
  std::vector<std::pair<std::string, double>> time_parts;  // shares of the step, by cause
};

// Cells of the tables: "3.2 s a step", "2.50/h".
std::string plan_time_text(const ComparedPlan& plan);

// Reads what plan, search, serve-plan and approaches wrote with --json. A search gives its front (at most five plans).
// Throws a caller Error for anything else.
std::vector<ComparedPlan> parse_compared(const std::string& json, const std::string& source);

std::string time_text(double seconds);  // below 0: "-"
std::string bytes_text(double bytes);
std::string usd_text(double usd);

std::string compare_text(const std::vector<ComparedPlan>& plans);

// Self-contained: no script, no address, pictures as SVG. Reads well on a phone and on paper.
std::string compare_html(const std::vector<ComparedPlan>& plans);

}  // namespace plimsoll::cli
