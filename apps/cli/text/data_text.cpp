#include "cli/text/data_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace plimsoll::cli {
namespace {

constexpr const char* kCounted = "\033[32m";
constexpr const char* kPlain = "\033[0m";

std::string thousands(int64_t value) { return format_thousands(value); }

// Text of strangers on a terminal: line ends stay, other control characters are shown as such.
std::string shown(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool c1 = byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (text[i] == '\n') out += "\n    ";
    else if (c1) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[++i]));  // U+0080 to U+009F
    else if (byte < 0x20 || byte == 0x7f) out += fmt::format("\\x{:02x}", byte);
    else out += text[i];
  }
  return out;
}

std::string histogram_text(const DataSurvey& survey, const Terminal& terminal) {
  int64_t most = 1;
  for (const DataSurvey::Bin& bin : survey.histogram) most = std::max(most, bin.rows);
  const int width = std::clamp(terminal.width - 40, 10, 60);
  std::string text = fmt::format("\n  {:>17}  {:>12}\n", "tokens", "rows");
  bool cut_shown = false;
  for (const DataSurvey::Bin& bin : survey.histogram) {
    const auto columns = static_cast<int>((bin.rows * width + most - 1) / most);  // any row at all shows
    std::string row;
    for (int i = 0; i < columns; ++i) row += terminal.unicode ? "█" : "#";
    if (terminal.color && bin.from > survey.seq_len) row = "\033[33m" + row + kPlain;
    const bool cut = !cut_shown && bin.to > survey.seq_len;
    cut_shown = cut_shown || cut;
    text += fmt::format("  {:>17}  {:>12}  {}{}\n", fmt::format("{} - {}", thousands(bin.from), thousands(bin.to)),
                        thousands(bin.rows), row,
                        cut ? fmt::format("  (--seq-len {} ends here)", survey.seq_len) : std::string());
  }
  const DataSurvey::Lengths& lengths = survey.lengths;
  return text + fmt::format("  shortest {}, median {}, mean {:.1f}, 95 % below {}, longest {}\n",
                            thousands(lengths.min), thousands(lengths.median), lengths.mean, thousands(lengths.p95),
                            thousands(lengths.max));
}

std::string example_text(const DataSurvey::Example& example, const Terminal& terminal) {
  const char* open = terminal.color ? kCounted : terminal.unicode ? "⟦" : "[[";
  const char* close = terminal.color ? kPlain : terminal.unicode ? "⟧" : "]]";
  std::string text = "    ";
  for (const DataSurvey::Run& run : example.runs)
    text += run.counted ? open + shown(run.text) + close : shown(run.text);
  if (example.hidden_tokens > 0) text += fmt::format(" … {} more tokens", thousands(example.hidden_tokens));
  return text + "\n";
}

}  // namespace

std::string data_text(const DataSurvey& survey, const Terminal& terminal) {
  const DatasetReport& report = survey.report;
  std::string text = describe_files(report) + "\n" + to_string(report, survey.seq_len) + "\n";
  if (survey.rejected_tokens > 0)
    text += fmt::format(
        "preference pairs are checked here, and not trained yet: the figures are of the chosen answers; the rejected "
        "ones have {} tokens\n",
        thousands(survey.rejected_tokens));
  if (report.prompts_cut > 0) text += describe_cut_prompts(report) + "\n";
  text += histogram_text(survey, terminal);
  text += fmt::format("\n  padding at --seq-len {}: {:.1f} % with packing ({} rows), {:.1f} % without ({} rows)\n",
                      survey.seq_len, 100 * survey.padding_packed, thousands(survey.rows_packed),
                      100 * survey.padding_unpacked, thousands(survey.rows_unpacked));
  for (size_t i = 0; i < report.first_bad.size(); ++i) {
    if (i == 0)
      text += fmt::format("\n  bad rows: {}{}\n", thousands(report.bad_rows),
                          report.bad_rows > static_cast<int64_t>(report.first_bad.size()) ? ", the first of them" : "");
    text += "    " + one_line(report.first_bad[i].place) + ": " + one_line(report.first_bad[i].problem) + "\n";
  }
  if (!survey.examples.empty())
    text += fmt::format("\n  the first rows, tokens that count {}\n",
                        terminal.color     ? std::string(kCounted) + "in this colour" + kPlain
                        : terminal.unicode ? "in ⟦ ⟧"
                                           : "in [[ ]]");
  for (size_t i = 0; i < survey.examples.size(); ++i)
    text += fmt::format("\n  {}. {} tokens\n", i + 1, thousands(survey.examples[i].tokens)) +
            example_text(survey.examples[i], terminal);
  return text;
}

Json data_json(const DataSurvey& survey) {
  const DatasetReport& report = survey.report;
  Json json;
  json["files"] = Json::array();
  for (const DatasetReport::File& file : report.files)
    json["files"].push_back({{"path", file.path},
                             {"format", name_of(file.format)},
                             {"compression", name_of(file.compression)},
                             {"rows", file.rows}});
  json["shapes"] = Json::object();
  for (size_t i = 0; i < report.shape_rows.size(); ++i)
    if (report.shape_rows[i] > 0) json["shapes"][name_of(static_cast<DataShape>(i))] = report.shape_rows[i];
  json["rows"] = report.rows;
  json["tokens"] = report.tokens;
  json["counted_tokens"] = report.counted_tokens;
  json["rejected_tokens"] = survey.rejected_tokens;
  json["overlong"] = {{"truncated_rows", report.truncated_rows}, {"truncated_tokens", report.truncated_tokens},
                      {"dropped_rows", report.dropped_rows},     {"dropped_tokens", report.dropped_tokens},
                      {"split_rows", report.split_rows},         {"split_pieces", report.split_pieces}};
  json["rows_without_target"] = report.rows_without_target;
  json["prompts_cut"] = {{"rows", report.prompts_cut}, {"first", report.first_prompt_cut}};
  json["bad_rows"] = report.bad_rows;
  json["first_bad_rows"] = Json::array();
  for (const DatasetReport::Bad& bad : report.first_bad)
    json["first_bad_rows"].push_back({{"place", bad.place}, {"problem", bad.problem}});
  json["lengths"] = {{"min", survey.lengths.min},
                     {"median", survey.lengths.median},
                     {"mean", survey.lengths.mean},
                     {"p95", survey.lengths.p95},
                     {"max", survey.lengths.max}};
  json["histogram"] = Json::array();
  for (const DataSurvey::Bin& bin : survey.histogram)
    json["histogram"].push_back({{"from", bin.from}, {"to", bin.to}, {"rows", bin.rows}});
  json["seq_len"] = survey.seq_len;
  json["padding"] = {{"packed", survey.padding_packed},
                     {"packed_rows", survey.rows_packed},
                     {"unpacked", survey.padding_unpacked},
                     {"unpacked_rows", survey.rows_unpacked}};
  json["examples"] = Json::array();
  for (const DataSurvey::Example& example : survey.examples) {
    Json runs = Json::array();
    for (const DataSurvey::Run& run : example.runs) runs.push_back({{"text", run.text}, {"counted", run.counted}});
    json["examples"].push_back({{"tokens", example.tokens}, {"runs", runs}});
  }
  return json;
}

}  // namespace plimsoll::cli
