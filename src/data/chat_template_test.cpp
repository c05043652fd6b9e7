#include "data/chat_template.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
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

}  // namespace
}  // namespace plimsoll
