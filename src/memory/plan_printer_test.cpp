#include "memory/plan_printer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>

#include "base/bytes.h"

namespace plimsoll {
namespace {

PlanPicture small_picture() {
  PlanPicture picture;
  picture.title = {"tiny   llama, 1.0 M parameters"};
  picture.segments = {{"weights", 20 * kMiB}, {"adapter", 0}, {"activations", 50 * kMiB}, {"overhead", 10 * kMiB}};
  picture.line_bytes = 160 * kMiB;
  picture.phases = {{"load", 30 * kMiB, "embed"}, {"train step", 80 * kMiB, "layers.0.swiglu"}};
  picture.footer = {"packing 0.0 % above the lower bound"};
  return picture;
}

int widest(const std::string& text) {
  int widest = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const auto columns = std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xC0) != 0x80; });
    widest = std::max(widest, static_cast<int>(columns));
  }
  return widest;
}

TEST(PlanPrinter, DrawsTheBarAgainstTheLine) {
  EXPECT_EQ(print_plan(small_picture(), {.width = 45}),
            "tiny   llama, 1.0 M parameters\n"
            "\n"
            "                      the line, 160.0 MiB ┃\n"
            "  █████▚▚▚▚▚▚▚▚▚▚▚▚▚▓▓                    ┃\n"
            "\n"
            "  ██ weights       20.0 MiB    12.5 %\n"
            "  ▚▚ activations   50.0 MiB    31.2 %\n"
            "  ▓▓ overhead      10.0 MiB     6.2 %\n"
            "     in all        80.0 MiB    50.0 %\n"
            "     free          80.0 MiB    50.0 %\n"
            "\n"
            "  phase            peak    at\n"
            "  load         30.0 MiB    embed\n"
            "  train step   80.0 MiB *  layers.0.swiglu\n"
            "\n"
            "packing 0.0 % above the lower bound\n");
}

TEST(PlanPrinter, ShowsWhatIsOverTheLine) {
  PlanPicture picture = small_picture();
  picture.line_bytes = 60 * kMiB;
  const std::string text = print_plan(picture, {.width = 45});
  EXPECT_NE(text.find("            the line, 60.00 MiB ┃\n"
                      "  ██████████▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚┃▚▚▚▚▚▓▓▓▓▓\n"
                      "        20.00 MiB over the line ┗━━━━━━━━━━\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("80.00 MiB !"), std::string::npos);
  EXPECT_EQ(text.find("free"), std::string::npos);
}

TEST(PlanPrinter, OneByteOverIsSeen) {
  PlanPicture picture = small_picture();
  picture.line_bytes = 80 * kMiB - 1;
  EXPECT_NE(print_plan(picture, {}).find("▓┃▓\n"), std::string::npos);
  picture.line_bytes = 80 * kMiB;
  EXPECT_NE(print_plan(picture, {}).find("▓▓┃\n"), std::string::npos);
}

TEST(PlanPrinter, WithoutALineTheBarFillsTheWidth) {
  PlanPicture picture = small_picture();
  picture.line_bytes.reset();
  const std::string text = print_plan(picture, {});
  EXPECT_EQ(text.find("┃"), std::string::npos);
  EXPECT_EQ(text.find("the line"), std::string::npos);
  EXPECT_NE(text.find("100.0 %\n"), std::string::npos);
}

TEST(PlanPrinter, ColoursAreAddedAndNothingElseChanges) {
  PlanPicture picture = small_picture();
  picture.line_bytes = 60 * kMiB;
  const std::string plain = print_plan(picture, {}), coloured = print_plan(picture, {.width = 80, .colour = true});
  EXPECT_EQ(plain.find('\x1b'), std::string::npos);
  std::string stripped;
  for (size_t i = 0; i < coloured.size(); ++i) {
    if (coloured[i] == '\x1b') i = coloured.find('m', i);
    else stripped += coloured[i];
  }
  EXPECT_NE(coloured, stripped);
  EXPECT_EQ(stripped, plain);
}

TEST(PlanPrinter, NeverWiderThanTheTerminal) {
  for (const int width : {10, 40, 41, 53, 80, 200})
    for (const int64_t line : {int64_t{1}, 30 * kMiB, 79 * kMiB, 90 * kMiB, 40'000 * kGiB}) {
      PlanPicture picture = small_picture();
      picture.title = {std::string(300, 'x'),
                       "words " + std::string(100, 'y') + " and more words in a rather long line of text"};
      picture.segments.push_back({"a name that nobody would give to a category of memory", 3 * kMiB});
      picture.phases.push_back({"a phase with quite a long name for a phase", 5, std::string(120, 'z') + ".the_end"});
      picture.line_bytes = line;
      const std::string text = print_plan(picture, {.width = width});
      EXPECT_LE(widest(text), std::max(40, width)) << text;
      EXPECT_NE(text.find("the_end"), std::string::npos);
    }
}

TEST(PlanPrinter, HostileNamesCannotDriveTheTerminal) {
  PlanPicture picture = small_picture();
  picture.title = {
      "evil \x1b[2J \xc2\x9b"
      "31m \xff\xfe \xe2\x82"};
  picture.phases[0].at = "a\nb\x07";
  const std::string text = print_plan(picture, {});
  EXPECT_NE(text.find("evil ?[2J ??31m ?? ??\n"), std::string::npos) << text;
  EXPECT_NE(text.find("a?b?\n"), std::string::npos);
}

TEST(PlanPrinter, AnEmptyPictureIsEmpty) { EXPECT_EQ(print_plan({}, {}), ""); }

TEST(PlanPrinter, PipesGetEightyColumnsWithoutColour) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const PrintStyle style = terminal_style(ends[1]);
  EXPECT_EQ(style.width, 80);
  EXPECT_FALSE(style.colour);
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
}  // namespace plimsoll
