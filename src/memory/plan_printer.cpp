#include "memory/plan_printer.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

#include "base/bytes.h"

namespace plimsoll {
namespace {

struct Fill {
  std::string_view character;
  std::string_view colour;  // ANSI
};
// Neighbours differ in darkness or pattern, so that the bar reads without colour.
constexpr std::array<Fill, 10> kFills = {{{"█", "34"},
                                          {"▒", "36"},
                                          {"▚", "94"},
                                          {"▓", "33"},
                                          {"╳", "35"},
                                          {"░", "32"},
                                          {"▞", "93"},
                                          {"╱", "96"},
                                          {"▄", "90"},
                                          {"╲", "95"}}};
constexpr std::string_view kOver = "1;31";
constexpr std::string_view kMark = "1";
constexpr std::string_view kDim = "2";
constexpr std::string_view kIndent = "  ";

const Fill& fill_of(size_t segment) { return kFills[segment % kFills.size()]; }

// Printable UTF-8: control characters and broken sequences become "?".
std::string cleaned(std::string_view text) {
  std::string clean;
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80                   ? 1
                          : lead >= 0xC2 && lead < 0xE0 ? 2
                          : lead >= 0xE0 && lead < 0xF0 ? 3
                          : lead >= 0xF0 && lead < 0xF5 ? 4
                                                        : 0;
    bool good = length > 0 && i + length <= text.size() && lead >= 0x20 && lead != 0x7F;
    for (size_t k = 1; good && k < length; ++k) good = (static_cast<unsigned char>(text[i + k]) & 0xC0) == 0x80;
    if (good && lead == 0xC2 && static_cast<unsigned char>(text[i + 1]) < 0xA0) good = false;  // C1 control characters
    if (good) clean += text.substr(i, length);
    else clean += '?';
    i += good ? length : 1;
  }
  return clean;
}

// Columns of cleaned text, one a character.
int columns(std::string_view text) {
  return static_cast<int>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string spaces(int count) { return std::string(static_cast<size_t>(std::max(0, count)), ' '); }
std::string padded(const std::string& text, int width) { return text + spaces(width - columns(text)); }
std::string right(const std::string& text, int width) { return spaces(width - columns(text)) + text; }

// The last `width` columns, with "…" for what is cut: of an op's name the end says more.
std::string shortened(const std::string& text, int width) {
  const int excess = columns(text) - width;
  if (excess <= 0) return text;
  size_t at = 0;
  for (int skip = excess + 1; at < text.size() && (skip > 0 || (text[at] & 0xC0) == 0x80); ++at)
    if ((text[at] & 0xC0) != 0x80) --skip;
  return "…" + text.substr(at);
}

// Broken between words into lines of at most `width` columns; longer words are cut.
std::vector<std::string> wrapped(const std::string& text, int width) {
  std::vector<std::string> lines;
  std::string line;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    const std::string word = shortened(text.substr(at, end - at), width);
    if (!line.empty() && columns(line) + 1 + columns(word) > width) {
      lines.push_back(line);
      line = word;
    } else {
      line += (at == 0 ? "" : " ") + word;
    }
    at = end + 1;
  }
  lines.push_back(line);
  return lines;
}

class Painter {
 public:
  Painter(const PlanPicture& picture, const PrintStyle& style)
      : picture_(picture), width_(std::max(40, style.width)), colour_(style.colour) {
    for (const PlanSegment& segment : picture.segments) total_ += std::max<int64_t>(0, segment.bytes);
    int64_t largest = std::max(total_, picture.line_bytes.value_or(0));
    for (const PlanPhase& phase : picture.phases) largest = std::max(largest, phase.peak_bytes);
    in_gib_ = largest >= 100 * kGiB;
    decimals_ = in_gib_ ? (largest < 1000 * kGiB ? 1 : 0) : (largest < 100 * kMiB ? 2 : largest < 10 * kGiB ? 1 : 0);
    size_width_ = std::max(columns(size(largest)), 8);
  }

  std::string paint() && {
    for (const std::string& line : picture_.title) add_wrapped(line);
    if (!picture_.title.empty()) out_ += '\n';
    if (total_ > 0 || picture_.line_bytes) {
      paint_bar();
      paint_legend();
    }
    paint_phases();
    for (const std::string& line : picture_.footer) add_wrapped(line);
    return std::move(out_);
  }

 private:
  std::string size(int64_t bytes) const {
    const auto unit = static_cast<double>(in_gib_ ? kGiB : kMiB);
    return fmt::format("{:.{}f} {}", static_cast<double>(bytes) / unit, decimals_, in_gib_ ? "GiB" : "MiB");
  }
  std::string painted(std::string_view text, std::string_view code) const {
    return colour_ && !text.empty() ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : std::string(text);
  }
  void add(const std::string& line) {
    out_ += line.substr(0, line.find_last_not_of(' ') + 1);
    out_ += '\n';
  }
  void add_wrapped(const std::string& text) {
    for (const std::string& line : wrapped(cleaned(text), width_)) add(line);
  }

  // Columns: the bar takes `cells_`; the mark stands in a column of its own before cell `mark_`.
  void paint_bar() {
    cells_ = width_ - 2 * static_cast<int>(kIndent.size()) - (picture_.line_bytes ? 1 : 0);
    const int64_t line = picture_.line_bytes.value_or(0);
    const int64_t full = std::max(total_, line);  // bytes of the whole width
    const auto cell_of = [&](int64_t bytes) {
      return static_cast<int>(static_cast<double>(bytes) / static_cast<double>(full) * cells_ + 0.5);
    };
    const bool over = picture_.line_bytes && total_ > line;
    mark_ = !picture_.line_bytes ? cells_ + 1 : over ? std::min(cell_of(line), cells_ - 1) : cells_;
    if (picture_.line_bytes) paint_mark_label(line);

    std::string bar(kIndent);
    int64_t sum = 0;
    int cell = 0;
    for (size_t i = 0; i < picture_.segments.size(); ++i) {
      sum += std::max<int64_t>(0, picture_.segments[i].bytes);
      const int end = cell_of(sum);
      std::string run;  // of one colour
      for (; cell < end; ++cell) {
        if (cell == mark_) {
          bar += painted(run, fill_of(i).colour) + painted("┃", over ? kOver : kMark);
          run.clear();
        }
        run += fill_of(i).character;
      }
      bar += painted(run, fill_of(i).colour);
    }
    if (picture_.line_bytes && cell <= mark_) bar += spaces(mark_ - cell) + painted("┃", kMark);
    add(bar);
    if (over) paint_overhang(line);
  }

  void paint_mark_label(int64_t line) {
    const std::string label = "the line, " + size(line);
    const int at = static_cast<int>(kIndent.size()) + mark_;
    // Left of the mark where there is room, else right of it.
    if (at >= columns(label) + 1) add(spaces(at - columns(label) - 1) + label + " " + painted("┃", kMark));
    else if (at + 2 + columns(label) <= width_) add(spaces(at) + painted("┃", kMark) + " " + label);
    else add(std::string(kIndent) + label), add(spaces(at) + painted("┃", kMark));
  }

  void paint_overhang(int64_t line) {
    const int at = static_cast<int>(kIndent.size()) + mark_;
    const int beyond = cells_ - mark_;
    std::string brace = "┗";
    for (int i = 0; i < beyond; ++i) brace += "━";
    const std::string label = size(total_ - line) + " over the line";
    const std::string left = spaces(at - columns(label) - 1) + label + " ";
    if (at >= columns(label) + 1) add(painted(left + brace, kOver));
    else
      add(painted(spaces(at) + brace, kOver)),
          add(painted(spaces(std::min(at + 1, width_ - columns(label))) + label, kOver));
  }

  void paint_legend() {
    out_ += '\n';
    const std::string total_name = "in all";
    int name_width = columns(total_name);
    for (const PlanSegment& segment : picture_.segments)
      name_width = std::max(name_width, columns(cleaned(segment.name)));
    name_width = std::min(name_width, width_ - 17 - size_width_);
    const int64_t whole = picture_.line_bytes.value_or(total_);
    const auto row = [&](const std::string& fill, const std::string& name, int64_t bytes, const std::string& note) {
      const double share = whole > 0 ? 100.0 * static_cast<double>(bytes) / static_cast<double>(whole) : 0.0;
      const std::string number = padded(shortened(cleaned(name), name_width), name_width) + kGap +
                                 right(size(bytes), size_width_) +
                                 right(share < 1000 ? fmt::format("{:.1f} %", share) : "> 999 %", 10);
      const bool has_room = static_cast<int>(kIndent.size()) + 3 + columns(number) + columns(note) <= width_;
      add(std::string(kIndent) + fill + " " + number + (has_room ? note : ""));
    };
    for (size_t i = 0; i < picture_.segments.size(); ++i) {
      const Fill& fill = fill_of(i);
      const std::string sample = std::string(fill.character) + std::string(fill.character);
      if (picture_.segments[i].bytes > 0)
        row(painted(sample, fill.colour), picture_.segments[i].name, picture_.segments[i].bytes, "");
    }
    row("  ", total_name, total_, picture_.line_bytes ? " of the line" : "");
    if (picture_.line_bytes && total_ <= *picture_.line_bytes) row("  ", "free", *picture_.line_bytes - total_, "");
    out_ += '\n';
  }

  void paint_phases() {
    if (picture_.phases.empty()) return;
    const std::string indent(kIndent);
    int name_width = 5;
    int64_t highest = 0;
    for (const PlanPhase& phase : picture_.phases) {
      name_width = std::max(name_width, columns(cleaned(phase.name)));
      highest = std::max(highest, phase.peak_bytes);
    }
    name_width = std::min(name_width, width_ - 20 - size_width_);
    const int at_width = width_ - name_width - size_width_ - static_cast<int>(kIndent.size() + 2 * kGap.size()) - 2;
    add(painted(indent + padded("phase", name_width) + kGap + right("peak", size_width_) + "  " + kGap + "at", kDim));
    for (const PlanPhase& phase : picture_.phases) {
      // A star at the phase that decides, and a red sign at those over the line.
      const bool over = picture_.line_bytes && phase.peak_bytes > *picture_.line_bytes;
      const std::string sign = over ? painted(" !", kOver) : phase.peak_bytes == highest ? " *" : "  ";
      add(indent + padded(shortened(cleaned(phase.name), name_width), name_width) + kGap +
          right(size(phase.peak_bytes), size_width_) + sign + kGap + shortened(cleaned(phase.at), at_width));
    }
    out_ += '\n';
  }

  static inline const std::string kGap = "  ";

  const PlanPicture& picture_;
  int width_;
  bool colour_;
  int64_t total_ = 0;
  bool in_gib_ = false;
  int decimals_ = 0;
  int size_width_ = 0;
  int cells_ = 0;
  int mark_ = 0;
  std::string out_;
};

}  // namespace

PrintStyle terminal_style(int fd) {
  PrintStyle style;
  if (isatty(fd) == 0) return style;
  winsize window{};
  if (ioctl(fd, TIOCGWINSZ, &window) == 0 && window.ws_col > 0) style.width = window.ws_col;
  const char* no_colour = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  style.colour = (no_colour == nullptr || *no_colour == '\0') && !(term != nullptr && std::string_view(term) == "dumb");
  return style;
}

std::string print_plan(const PlanPicture& picture, const PrintStyle& style) { return Painter(picture, style).paint(); }

}  // namespace plimsoll
