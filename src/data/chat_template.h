// Chat templates: the Jinja program that a model carries to turn messages into text, run as transformers runs it
// (ImmutableSandboxedEnvironment, trim_blocks, lstrip_blocks, loop controls, {% generation %}, raise_exception,
// strftime_now, tojson without HTML escapes). The text is to be tokenized without adding special tokens: the template
// has written them.
#pragma once

#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/jinja/value.h"

namespace plimsoll {

using ByteSpan = std::pair<int64_t, int64_t>;  // [begin, end) in bytes of a text

struct ChatRequest {
  jinja::Value messages;          // a list of dicts
  jinja::Value tools, documents;  // lists, or none
  bool add_generation_prompt = false;
  std::optional<std::string> bos_token, eos_token;              // undefined in the template when empty
  std::vector<std::pair<std::string, jinja::Value>> variables;  // further ones; they win over those above
  std::optional<std::tm> now;                                   // what strftime_now sees; empty: the local time
};

struct RenderedChat {
  std::string text;
  std::vector<ByteSpan> assistant_spans;  // what {% generation %} blocks wrote; empty without such blocks
};

class ChatTemplate {
 public:
  // `name` is what errors call the template ("chat_template.jinja"). Throws a caller Error "NAME:LINE" for text that is
  // not a template: bad syntax, unknown tag, filter or test, invalid UTF-8, more than 1 MiB.
  explicit ChatTemplate(std::string_view source, std::string name = "chat template");
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  bool has_generation_blocks() const;

  // Throws a caller Error "NAME:LINE". Where the template refuses the conversation (raise_exception), the problem is
  // its message, word for word. Bounded in steps, depth and bytes (data/jinja/meter.h). Several threads may render.
  RenderedChat render(const ChatRequest& request) const;

  // The same, with the spans of what the assistant says. Without generation blocks they are found by rendering the
  // conversation up to each assistant message (with the generation prompt, or without where the template would then
  // write something else) and up to behind it: the message is what was added. A template that rewrites earlier turns
  // does not allow that: a caller Error says so. What follows the text of a message up to the next one (the
  // end-of-turn mark and often a newline) belongs to the span. Ignores `add_generation_prompt`: there is none.
  RenderedChat render_for_training(const ChatRequest& request) const;

 private:
  struct Parsed;

  RenderedChat render_messages(const ChatRequest& request, const jinja::Value& messages, bool generation_prompt) const;
  std::vector<ByteSpan> spans_by_prefixes(const ChatRequest& request, const std::string& text) const;

  std::string name_;
  std::unique_ptr<const Parsed> parsed_;
};

// "2031-02-03", "2031-02-03T04:05" or "2031-02-03T04:05:06" (or with a blank for the T). Throws a caller Error about
// `flag`.
std::tm parse_local_time(std::string_view text, std::string_view flag);

// --- where a template comes from ------------------------------------------------------------------------------------

struct ChatTemplateSources {
  std::string jinja_file;           // path of chat_template.jinja; empty or missing file: none
  std::string tokenizer_config;     // path of tokenizer_config.json; empty or missing file: none
  std::optional<std::string> gguf;  // metadata tokenizer.chat_template
};

struct ChatTemplateText {
  std::string text;
  std::string name;  // for errors: the file it is from
};

// The first of: chat_template.jinja; `chat_template` in tokenizer_config.json, a string or a list of {name, template}
// ("default", or "tool_use" where there is one and `with_tools`); GGUF metadata. Empty when none has one. Throws a
// caller Error for files that cannot be understood.
std::optional<ChatTemplateText> pick_chat_template(const ChatTemplateSources& sources, bool with_tools = false);

}  // namespace plimsoll
