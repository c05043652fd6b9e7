#include "data/chat_template.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/error.h"
#include "base/text.h"
#include "data/jinja/interpreter.h"
#include "data/jinja/syntax/lexer.h"
#include "data/jinja/syntax/parser.h"

namespace plimsoll {
namespace {

using jinja::Value;

constexpr jinja::Limits kLimits;

std::tm local_now() {
  const std::time_t now = std::time(nullptr);
  std::tm result{};
  localtime_r(&now, &result);
  return result;
}

// A message as transformers hands it to the template: without keys whose value is null, and with the reasoning under
// both names that templates read.
Value prepared(const Value& message) {
  const Value* reasoning = nullptr;
  for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
    if (reasoning == nullptr || reasoning->is_none()) reasoning = message.as_dict().find(std::string_view(name));
  }
  const bool reasons = reasoning != nullptr && !reasoning->is_none();
  std::vector<std::pair<Value, Value>> entries;
  if (reasons) entries.emplace_back(Value::string("thinking"), *reasoning);
  for (const auto& entry : message.as_dict().entries) {
    if (!entry.second.is_none()) entries.push_back(entry);
  }
  if (reasons) entries.emplace_back(Value::string("reasoning_content"), *reasoning);
  return Value::dict(std::move(entries));
}

void check_dicts(const Value& list, const char* what) {
  const bool fits = list.is_list() &&
                    std::all_of(list.items().begin(), list.items().end(), [](const Value& v) { return v.is_dict(); });
  if (!fits) throw caller_error(what, "is not a list of objects", std::string("write [{…}, …]"));
}

bool is_assistant(const Value& message) {
  const Value* role = message.as_dict().find(std::string_view("role"));
  return role != nullptr && role->is_string() && (role->text() == "assistant" || role->text() == "model");
}

Value first_messages(const Value& messages, size_t count) {
  return Value::list({messages.items().begin(), messages.items().begin() + static_cast<ptrdiff_t>(count)});
}

}  // namespace

struct ChatTemplate::Parsed {
  jinja::Template program;
};

ChatTemplate::ChatTemplate(std::string_view source, std::string name) : name_(std::move(name)) {
  const char* way_out = "correct the template, or give another chat_template.jinja";
  if (static_cast<int64_t>(source.size()) > kLimits.template_bytes) {
    throw caller_error(name_, "the template has " + std::to_string(source.size()) + " bytes, more than 1 MiB", way_out);
  }
  if (!is_valid_utf8(source)) throw caller_error(name_, "the template is not valid UTF-8", way_out);
  try {
    parsed_ = std::make_unique<Parsed>(Parsed{jinja::parse_template(source)});
  } catch (const jinja::SyntaxFailure& failure) {
    throw caller_error(name_ + ":" + std::to_string(failure.line), one_line(failure.what()), way_out);
  } catch (const jinja::Failure& failure) {
    throw caller_error(name_, one_line(failure.what()), way_out);
  }
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

bool ChatTemplate::has_generation_blocks() const { return parsed_->program.has_generation; }

RenderedChat ChatTemplate::render_messages(const ChatRequest& request, const Value& messages,
                                           bool generation_prompt) const {
  check_dicts(messages, "messages");
  if (!request.documents.is_none()) check_dicts(request.documents, "documents");
  try {
    std::vector<Value> chat;
    for (const Value& message : messages.items()) chat.push_back(prepared(message));
    std::vector<std::pair<std::string, Value>> variables = {
        {"messages", Value::list(std::move(chat))},
        {"tools", request.tools},
        {"documents", request.documents},
        {"add_generation_prompt", Value::boolean(generation_prompt)},
    };
    if (request.bos_token) variables.emplace_back("bos_token", Value::string(*request.bos_token));
    if (request.eos_token) variables.emplace_back("eos_token", Value::string(*request.eos_token));
    variables.insert(variables.end(), request.variables.begin(), request.variables.end());
    jinja::Rendered rendered =
        jinja::render(parsed_->program, variables, request.now ? *request.now : local_now(), kLimits);
    return {std::move(rendered.text), std::move(rendered.generation_spans)};
  } catch (const jinja::RenderFailure& failure) {
    const std::string place = name_ + ":" + std::to_string(failure.line);
    if (failure.raised)
      throw caller_error(place, failure.what(), "the template refuses this conversation: change its messages");
    throw caller_error(place, one_line(failure.what()), "correct the template, or the messages it is given");
  } catch (const jinja::Failure& failure) {
    throw caller_error(name_, one_line(failure.what()), "give smaller messages");
  }
}

RenderedChat ChatTemplate::render(const ChatRequest& request) const {
  if (request.messages.is_list() && request.messages.items().empty()) {
    throw caller_error("messages", "the conversation is empty", "give at least one message");
  }
  return render_messages(request, request.messages, request.add_generation_prompt);
}

RenderedChat ChatTemplate::render_for_training(const ChatRequest& request) const {
  RenderedChat chat = render_messages(request, request.messages, false);
  if (!has_generation_blocks()) chat.assistant_spans = spans_by_prefixes(request, chat.text);
  return chat;
}

std::vector<ByteSpan> ChatTemplate::spans_by_prefixes(const ChatRequest& request, const std::string& text) const {
  const auto fail = [&](size_t message, const std::string& why) {
    return caller_error(name_,
                        "loss on assistant tokens is not possible with this template: message " +
                            std::to_string(message + 1) + " cannot be told apart, " + why,
                        "use --loss-on all, or mark the assistant's text in the template with {% generation %}");
  };
  const auto prefix = [&](size_t message, size_t count, bool generation_prompt) -> std::string {
    try {
      return render_messages(request, first_messages(request.messages, count), generation_prompt).text;
    } catch (const Error& error) {
      throw fail(message, "the conversation before it does not render (" + one_line(error.problem(), 120) + ")");
    }
  };
  std::vector<ByteSpan> spans;
  const std::vector<Value>& messages = request.messages.items();
  for (size_t i = 0; i < messages.size(); ++i) {
    if (!is_assistant(messages[i])) continue;
    const std::string with = i + 1 == messages.size() ? text : prefix(i, i + 1, false);
    std::string before = prefix(i, i, true);
    if (!with.starts_with(before)) before = prefix(i, i, false);
    if (!text.starts_with(with) || !with.starts_with(before)) {
      throw fail(i, "since the text before it changes with what follows");
    }
    spans.emplace_back(static_cast<int64_t>(before.size()), static_cast<int64_t>(with.size()));
  }
  return spans;
}

std::tm parse_local_time(std::string_view text, std::string_view flag) {
  const auto fail = [&] {
    return caller_error(std::string(flag), "'" + one_line(text, 60) + "' is not a time",
                        "write it as 2031-02-03T04:05:06");
  };
  std::array<int, 6> parts{};  // year, month, day, hour, minute, second
  static constexpr std::array<size_t, 6> kWidth = {4, 2, 2, 2, 2, 2};
  static constexpr std::array<std::string_view, 6> kBefore = {"", "-", "-", "T ", ":", ":"};
  size_t count = 0;
  for (std::string_view rest = text; count < parts.size() && !(rest.empty() && (count == 3 || count == 5)); ++count) {
    if (count > 0) {
      if (rest.empty() || kBefore[count].find(rest[0]) == std::string_view::npos) throw fail();
      rest.remove_prefix(1);
    }
    const std::string_view digits = rest.substr(0, kWidth[count]);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), parts[count]);
    if (digits.size() != kWidth[count] || error != std::errc() || end != digits.data() + digits.size() ||
        digits[0] == '-')
      throw fail();
    rest.remove_prefix(digits.size());
    if (count + 1 == parts.size() && !rest.empty()) throw fail();
  }
  std::tm time{};
  time.tm_year = parts[0] - 1900;
  time.tm_mon = parts[1] - 1;
  time.tm_mday = parts[2];
  time.tm_hour = parts[3];
  time.tm_min = parts[4];
  time.tm_sec = parts[5];
  std::tm normal = time;  // timegm also fills in the day of the week and of the year
  if (timegm(&normal) == -1 && parts[0] != 1969) throw fail();
  if (normal.tm_mon != time.tm_mon || normal.tm_mday != time.tm_mday || normal.tm_hour != time.tm_hour ||
      normal.tm_min != time.tm_min || normal.tm_sec != time.tm_sec) {
    throw fail();
  }
  normal.tm_isdst = 0;
  return normal;
}

}  // namespace plimsoll
