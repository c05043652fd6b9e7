#include "data/jinja/interpreter.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "data/jinja/json.h"
#include "data/jinja/syntax/lexer.h"
#include "data/jinja/syntax/parser.h"

namespace plimsoll::jinja {
namespace {

using nlohmann::ordered_json;
using Variables = std::vector<std::pair<std::string, Value>>;

std::tm fixed_time() {  // 2031-02-03 04:05:06, a Monday
  std::tm now{};
  now.tm_year = 131;
  now.tm_mon = 1;
  now.tm_mday = 3;
  now.tm_hour = 4;
  now.tm_min = 5;
  now.tm_sec = 6;
  timegm(&now);
  return now;
}

std::string run(const std::string& source, const Variables& variables = {}, const Limits& limits = {}) {
  return render(parse_template(source), variables, fixed_time(), limits).text;
}

// What Jinja2 makes of our own templates (tests/tools/make_jinja_golden.py).
class Golden : public testing::Test {
 protected:
  void SetUp() override {
    std::ifstream file(PLIMSOLL_TEST_DATA "/golden/jinja/cases.json");
    golden_ = ordered_json::parse(file);
  }

  static void expect_outcome(const ordered_json& c, const std::string& source, const Variables& variables,
                             bool exact_errors) {
    std::string text;
    try {
      text = run(source, variables);
    } catch (const Failure& failure) {
      EXPECT_TRUE(c.contains("error")) << failure.what() << "\n  expected: " << c["expected"];
      if (c.contains("error") && exact_errors) {
        EXPECT_EQ(failure.what(), c["error"].get<std::string>());
      }
      return;
    }
    EXPECT_FALSE(c.contains("error")) << "gave " << text << "\n  expected the error " << c["error"];
    if (c.contains("expected")) {
      EXPECT_EQ(text, c["expected"].get<std::string>());
    }
  }

  ordered_json golden_;
};

TEST_F(Golden, Snippets) {
  Variables variables;
  for (const auto& [key, value] : golden_["variables"].items()) variables.emplace_back(key, from_json(value));
  Int big = 1;
  for (int i = 0; i < 30; ++i) big *= 10;
  variables.emplace_back("big", Value::integer(big));
  for (const auto& c : golden_["cases"]) {
    SCOPED_TRACE(c["template"].get<std::string>());
    // Syntax errors say where a block began and more; only that they are errors is compared.
    bool syntax_error = false;
    try {
      parse_template(c["template"].get<std::string>());
    } catch (const SyntaxFailure&) {
      syntax_error = true;
    }
    expect_outcome(c, c["template"], variables, !syntax_error);
  }
  EXPECT_GT(golden_["cases"].size(), 240u);
}

TEST_F(Golden, Chats) {
  for (const auto& c : golden_["chats"]) {
    SCOPED_TRACE(c["template"].get<std::string>() + " " + c["conversation"].get<std::string>() + " " +
                 c["variables"].dump());
    Variables variables = {{"messages", from_json(golden_["conversations"][c["conversation"].get<std::string>()])},
                           {"tools", Value()},
                           {"bos_token", Value::string("<s>")},
                           {"eos_token", Value::string("</s>")}};
    for (const auto& [key, value] : c["variables"].items()) variables.emplace_back(key, from_json(value));
    expect_outcome(c, golden_["templates"][c["template"].get<std::string>()], variables, true);
  }
  EXPECT_EQ(golden_["chats"].size(), 224u);
}

// --- bounds ----------------------------------------------------------------------------------------------------------

std::string failure_of(const std::string& source, const Limits& limits = {}) {
  try {
    run(source, {}, limits);
  } catch (const Failure& failure) {
    return failure.what();
  }
  return "no failure";
}

TEST(Bounds, TemplatesThatWouldHangOrGrowFail) {
  const std::string million = "{% for a in range(1000) %}{% for b in range(1000) %}";
  const std::string end = "{% endfor %}{% endfor %}";
  Limits few;
  few.steps = 100000;
  EXPECT_NE(failure_of(million + end, few).find("more than 100000 steps"), std::string::npos);
  few.steps = 1'000'000'000;
  few.output_bytes = 1000;
  EXPECT_NE(failure_of(million + "x" + end, few).find("longer than 1000 bytes"), std::string::npos);
  for (const char* source : {
           "{{ 'x' * 10000000000 }}",
           "{{ [1] * 10000000000 }}",
           "{{ 2 ** 1000000 }}",
           "{{ 'x'.center(10000000000) }}",
           "{{ 'x'.zfill(10000000000) }}",
           "{{ '%1000000000d' % 1 }}",
           "{{ '{:1000000000}'.format(1) }}",
           "{{ '%.*f' % (1000000000, 1.0) }}",
           "{{ [1] | tojson(indent=1000000000) }}",
           "{{ 'a' | indent(1000000000000) }}",
           "{{ [1] | batch(10000000000, 1) | list }}",
           "{{ [1] | slice(10000000000) | list }}",
           "{{ range(100000) | list * 1000 }}",
           "{{ ('x' * 1000000).replace('', 'y' * 1000000) }}",
           "{{ (['x' * 1000000] * 1000) | join('y') }}",
           "{{ strftime_now('%1000000000d') }}",
           "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
           "{% set ns = namespace(s=['x']) %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
           "{% set ns = namespace(s=['x']) %}{% for i in range(100000) %}{% set ns.s = [ns.s] %}{% endfor %}",
           "{% set ns = namespace(s=['x']) %}{% for i in range(100000) %}{% set ns.s = ns.s | map('upper') %}{% endfor "
           "%}",
           "{% set ns = namespace(s=['x']) %}{% for i in range(100000) %}{% set ns.s = [ns.s].count %}{% endfor %}",
           "{% set ns = namespace(s=1) %}{% for i in range(100000) %}{% for j in [ns.s] %}{% set ns.s = loop %}{% "
           "endfor %}{% endfor %}",
           "{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}",
           "{% set ns = namespace() %}{% set ns.me = ns %}{{ [ns] }}",
           "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
           "{% macro m() %}{{ caller() }}{% endmacro %}{% macro n() %}{% call m() %}{{ n() }}{% endcall %}{% endmacro "
           "%}{{ n() }}",
           "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
           "{% set ns = namespace(s=1) %}{% for i in range(100) %}{% set ns.s = (ns.s ~ ns.s) * 1000 %}{% endfor %}",
       }) {
    EXPECT_NE(failure_of(source), "no failure") << source;
  }
  EXPECT_EQ(live_bytes(), 0);
}

TEST(Bounds, ValuesThatHoldThemselvesAreFreed) {
  run("{% set ns = namespace() %}{% set ns.me = [ns] %}{% macro m() %}{{ caller() }}{% endmacro %}{% set ns.m = m %}"
      "{% for i in range(2000) %}{% set p = ns.c %}{% macro k() %}{{ p }}{% endmacro %}{% set ns.c = k %}{% endfor %}"
      "{% for i in range(2000) %}{% set p = ns.l %}{% for a in [1] recursive %}{% set ns.l = loop %}{% endfor %}{% "
      "endfor %}");
  EXPECT_EQ(live_bytes(), 0);
}

TEST(Bounds, DeepTemplatesFail) {
  const auto repeat = [](const std::string& text, int times) {
    std::string out;
    for (int i = 0; i < times; ++i) out += text;
    return out;
  };
  for (const std::string& source : {
           "{{ " + repeat("(", 100000) + "1" + repeat(")", 100000) + " }}",
           "{{ " + repeat("[", 100000),
           "{{ " + repeat("-", 100000) + "1 }}",
           "{{ " + repeat("not ", 100000) + "1 }}",
           "{{ 1" + repeat(" + 1", 100000) + " }}",
           "{{ x" + repeat(".y", 100000) + " }}",
           "{{ x" + repeat("[0]", 100000) + " }}",
           "{{ x" + repeat("|upper", 100000) + " }}",
           "{{ x" + repeat("()", 100000) + " }}",
           "{{ 1" + repeat(" if 1 else 1", 100000) + " }}",
           "{{ 1" + repeat(" is odd", 100000) + " }}",
           repeat("{% if 1 %}", 100000),
           repeat("{% for x in y %}", 100000),
           "{% set " + repeat("(", 100000) + "a = 1 %}",
       }) {
    EXPECT_THROW(parse_template(source), SyntaxFailure) << source.substr(0, 20);
  }
}

TEST(Errors, NameTheLine) {
  const auto line_of = [](const std::string& source) {
    try {
      run(source);
    } catch (const RenderFailure& failure) {
      return failure.line;
    } catch (const SyntaxFailure& failure) {
      return failure.line;
    }
    return 0;
  };
  EXPECT_EQ(line_of("a\n\n{{ 1 + 'x' }}\n"), 3);
  EXPECT_EQ(line_of("a\n{% if true %}\n{{ raise_exception('x') }}\n{% endif %}"), 3);
  EXPECT_EQ(line_of("{# a\n b #}\n{% for x in [1] -%}\n\n  {{ 1 | nofilter }}{% endfor %}"), 5);
  EXPECT_EQ(line_of("a\n{% nonsense %}"), 2);
  EXPECT_EQ(line_of("{% macro m() %}\n{{ 1 / 0 }}{% endmacro %}\n{{ m() }}"), 2);
  EXPECT_EQ(line_of("{{ [\n1,\n2] + 1 }}"), 3);
}

TEST(Json, ParsesAsPythonDoes) {
  EXPECT_EQ(to_repr(parse_json(R"({"b": 1, "a": [1.0, true, null, "é\u00e9\ud83d\ude00"], "b": 2})")),
            "{'b': 2, 'a': [1.0, True, None, 'éé😀']}");
  EXPECT_EQ(to_repr(parse_json("[123456789012345678901234567890, -9223372036854775809, 18446744073709551615, 1e2]")),
            "[123456789012345678901234567890, -9223372036854775809, 18446744073709551615, 100.0]");
  for (const std::string& text :
       {std::string("{"), std::string("[1,]"), std::string("nul"), std::string("\"\xff\""), std::string("1 2"),
        std::string("\"\\ud800\""), std::string(200, '['), std::string()}) {
    EXPECT_THROW(parse_json(text), Failure) << text;
  }
}

}  // namespace
}  // namespace plimsoll::jinja
