#include "data/chat_template.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "data/jinja/json.h"
#include "data/jinja/unicode.h"

namespace plimsoll {
namespace {

using nlohmann::ordered_json;

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

ChatRequest request_of(const ordered_json& c, const ordered_json& all) {
  ChatRequest request;
  request.bos_token = all["bos_token"].get<std::string>();
  request.eos_token = all["eos_token"].get<std::string>();
  request.now = parse_local_time(all["now"].get<std::string>(), "now");
  for (const auto& [key, value] : c.items()) {
    if (key == "messages") request.messages = jinja::from_json(value);
    else if (key == "tools") request.tools = jinja::from_json(value);
    else if (key == "documents") request.documents = jinja::from_json(value);
    else if (key == "add_generation_prompt") request.add_generation_prompt = value.get<bool>();
    else if (key != "name" && key != "expected" && key != "error" && key != "error_type" && key != "ids" &&
             key != "assistant_mask" && key != "assistant_spans") {
      request.variables.emplace_back(key, jinja::from_json(value));
    }
  }
  return request;
}

// All that transformers rendered for our own fifteen templates.
TEST(ChatTemplate, GoldenCases) {
  int cases = 0, errors = 0, spans = 0;
  for (const auto& folder : std::filesystem::directory_iterator(PLIMSOLL_TEST_DATA "/golden/chat")) {
    const ChatTemplate source(read_file(folder.path() / "template.jinja"), folder.path().filename());
    const auto all = ordered_json::parse(read_file(folder.path() / "cases.json"));
    for (const auto& c : all["cases"]) {
      SCOPED_TRACE(folder.path().filename().string() + "/" + c["name"].get<std::string>());
      const ChatRequest request = request_of(c, all);
      ++cases;
      if (c.contains("error")) {
        ++errors;
        try {
          source.render(request);
          ADD_FAILURE() << "rendered, but should fail with " << c["error"];
        } catch (const Error& error) {
          EXPECT_EQ(error.kind(), ErrorKind::caller);
          EXPECT_EQ(error.problem(), c["error"].get<std::string>());
        }
        continue;
      }
      RenderedChat chat;
      ASSERT_NO_THROW(chat = source.render(request));
      EXPECT_EQ(chat.text, c["expected"].get<std::string>());
      if (c.contains("assistant_spans")) {
        ++spans;
        ordered_json found = ordered_json::array();
        for (const auto& [begin, end] : chat.assistant_spans) {
          found.push_back({jinja::count_code_points(chat.text.substr(0, static_cast<size_t>(begin))),
                           jinja::count_code_points(chat.text.substr(0, static_cast<size_t>(end)))});
        }
        EXPECT_EQ(found, c["assistant_spans"]);
      }
    }
  }
  EXPECT_EQ(cases, 148);
  EXPECT_EQ(errors, 8);
  EXPECT_EQ(spans, 12);
}

std::string problem_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::caller);
    return error.thing() + ": " + error.problem();
  }
  return "no error";
}

TEST(ChatTemplate, ErrorsNameTemplateAndLine) {
  EXPECT_EQ(problem_of([] { ChatTemplate("a\n{{ 1 | nofilter }}", "t.jinja"); }),
            "t.jinja:2: No filter named 'nofilter'.");
  EXPECT_EQ(problem_of([] { ChatTemplate("a\n\n{% nonsense %}", "t.jinja"); }),
            "t.jinja:3: Encountered unknown tag 'nonsense'.");
  EXPECT_EQ(problem_of([] { ChatTemplate("\xff", "t.jinja"); }), "t.jinja: the template is not valid UTF-8");
  EXPECT_EQ(problem_of([] { ChatTemplate(std::string(2 << 20, 'x'), "t.jinja"); }),
            "t.jinja: the template has 2097152 bytes, more than 1 MiB");
  ChatRequest request;
  request.messages = jinja::parse_json(R"([{"role": "user"}])");
  EXPECT_EQ(problem_of([&] { ChatTemplate("\n{{ messages[0].content.strip() }}", "t.jinja").render(request); }),
            "t.jinja:2: 'dict object' has no attribute 'content'");
  request.messages = jinja::parse_json("[]");
  EXPECT_EQ(problem_of([&] { ChatTemplate("x").render(request); }), "messages: the conversation is empty");
  request.messages = jinja::parse_json("[1]");
  EXPECT_EQ(problem_of([&] { ChatTemplate("x").render(request); }), "messages: is not a list of objects");
}

// Whatever bound a template runs into (steps, depth, output, bytes alive), the error names its line.
TEST(ChatTemplate, HostileTemplatesFailAtTheirLine) {
  ChatRequest request;
  request.messages = jinja::parse_json(R"([{"role": "user", "content": "a"}])");
  const auto repeat = [](const std::string& text, int times) {
    std::string out;
    for (int i = 0; i < times; ++i) out += text;
    return out;
  };
  const std::string loops = "{% for a in range(99999) %}{% for b in range(99999) %}";
  const std::string ends = "{% endfor %}{% endfor %}";
  for (const std::string& source : {
           loops + ends,
           loops + "{{ 'x' * 100000 }}" + ends,
           loops + "xxxxxxxxxxxxxxxx" + ends,
           loops + "{% set y = messages | tojson %}" + ends,
           std::string("{{ 'x' * 10000000000 }}"),
           std::string("{{ range(100000) | list * 1000 }}"),
           std::string("{{ 2 ** 1000000 }}"),
           std::string("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
           std::string("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}"),
           std::string("{% set ns = namespace(s=[]) %}{% for i in range(1000) %}{% set ns.s = [ns.s] %}{% endfor %}"),
           std::string(
               "{% set ns = namespace(s=['x']) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}"),
           "{{ " + repeat("(", 10000) + "1" + repeat(")", 10000) + " }}",
           repeat("{% if 1 %}", 10000) + repeat("{% endif %}", 10000),
           "{{ 1" + repeat(" + 1", 10000) + " }}",
       }) {
    const std::string problem =
        problem_of([&] { ChatTemplate("one\ntwo\n" + source + "\nfour", "t.jinja").render(request); });
    EXPECT_TRUE(problem.starts_with("t.jinja:3: ")) << source.substr(0, 60) << "\n" << problem;
  }
}

TEST(ChatTemplate, SpansByPrefixesPreferTheGenerationPrompt) {
  const ChatTemplate with_prompt(
      "{% for m in messages %}[{{ m.role }}]{{ m.content }};{% endfor %}{% if add_generation_prompt %}[assistant]{% "
      "endif %}");
  const ChatTemplate other_prompt(
      "{% for m in messages %}[{{ m.role }}]{{ m.content }};{% endfor %}{% if add_generation_prompt "
      "%}[assistant]<think>{% endif %}");
  ChatRequest request;
  request.messages = jinja::parse_json(
      R"([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}])");
  EXPECT_EQ(with_prompt.render_for_training(request).assistant_spans, (std::vector<ByteSpan>{{19, 21}, {40, 42}}));
  EXPECT_EQ(other_prompt.render_for_training(request).assistant_spans, (std::vector<ByteSpan>{{8, 21}, {29, 42}}));
}

TEST(ChatTemplate, LocalTimes) {
  const std::tm time = parse_local_time("2031-02-03T04:05:06", "--now");
  EXPECT_EQ(time.tm_wday, 1);
  EXPECT_EQ(time.tm_yday, 33);
  EXPECT_EQ(parse_local_time("2031-02-03", "--now").tm_hour, 0);
  EXPECT_EQ(parse_local_time("2031-02-03 04:05", "--now").tm_min, 5);
  for (const char* text : {"", "2031", "2031-2-3", "2031-02-30", "2031-02-03T", "2031-02-03T04", "2031-02-03T25:00",
                           "2031-02-03T04:05:06Z", "x"}) {
    EXPECT_NE(problem_of([&] { parse_local_time(text, "--now"); }), "no error") << text;
  }
}

TEST(ChatTemplate, SourcesByPrecedence) {
  const auto folder = std::filesystem::path(testing::TempDir()) / ("templates" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  const auto write = [&](const char* name, const std::string& text) {
    std::ofstream(folder / name, std::ios::binary) << text;
  };
  ChatTemplateSources sources{folder / "chat_template.jinja", folder / "tokenizer_config.json", std::nullopt};
  EXPECT_FALSE(pick_chat_template(sources));
  sources.gguf = "from gguf";
  EXPECT_EQ(pick_chat_template(sources)->text, "from gguf");
  write("tokenizer_config.json", R"({"chat_template": null})");
  EXPECT_EQ(pick_chat_template(sources)->text, "from gguf");
  write("tokenizer_config.json", R"({"chat_template": "from config"})");
  EXPECT_EQ(pick_chat_template(sources)->text, "from config");
  write(
      "tokenizer_config.json",
      R"({"chat_template": [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "standard"}]})");
  EXPECT_EQ(pick_chat_template(sources)->text, "standard");
  EXPECT_EQ(pick_chat_template(sources, true)->text, "tools");
  for (const char* bad : {R"({"chat_template": 5})", R"({"chat_template": [{"name": "rag", "template": "x"}]})",
                          R"({"chat_template": [1]})", R"({"chat_template": [{"name": "default"}]})", "{"}) {
    write("tokenizer_config.json", bad);
    EXPECT_NE(problem_of([&] { pick_chat_template(sources); }), "no error") << bad;
  }
  write("chat_template.jinja", "from file");
  EXPECT_EQ(pick_chat_template(sources)->text, "from file");
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace plimsoll
