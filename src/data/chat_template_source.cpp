// pick_chat_template: which of a model's files holds its chat template.
#include "base/error.h"
#include "base/text.h"
#include "data/chat_template.h"
#include "data/jinja/json.h"
#include "formats/text_file.h"

namespace plimsoll {
namespace {

using jinja::Value;

constexpr int64_t kMaxTemplateFileBytes = int64_t{4} << 20;

std::string text_of(const Value* value, const std::string& path, const char* what) {
  if (value == nullptr || !value->is_string()) {
    throw caller_error(path, std::string("chat_template has an entry whose ") + what + " is not a string",
                       "write it as [{\"name\": …, \"template\": …}], or one string");
  }
  return value->text();
}

// One of a list of {name, template}.
std::optional<std::string> pick_named(const std::vector<Value>& entries, const std::string& path, bool with_tools) {
  std::optional<std::string> standard, tool_use;
  for (const Value& entry : entries) {
    if (!entry.is_dict())
      throw caller_error(path, "chat_template has an entry that is not an object",
                         "write it as [{\"name\": …, \"template\": …}]");
    const std::string name = text_of(entry.as_dict().find(std::string_view("name")), path, "name");
    std::string text = text_of(entry.as_dict().find(std::string_view("template")), path, "template");
    if (name == "default") standard = std::move(text);
    else if (name == "tool_use") tool_use = std::move(text);
  }
  if (with_tools && tool_use) return tool_use;
  if (!standard)
    throw caller_error(path, "chat_template has several templates, none of them named \"default\"",
                       "name one of them \"default\"");
  return standard;
}

std::optional<std::string> from_tokenizer_config(const std::string& path, bool with_tools) {
  Value config;
  try {
    config = jinja::parse_json(read_text_file(path));
  } catch (const jinja::Failure& failure) {
    throw caller_error(path, one_line(failure.what()), "download the file again");
  }
  const Value* entry = config.is_dict() ? config.as_dict().find(std::string_view("chat_template")) : nullptr;
  if (entry == nullptr || entry->is_none()) return std::nullopt;
  if (entry->is_string()) return entry->text();
  if (entry->is_list()) return pick_named(entry->items(), path, with_tools);
  throw caller_error(path, "chat_template is neither a string nor a list", "download the file again");
}

}  // namespace

std::optional<ChatTemplateText> pick_chat_template(const ChatTemplateSources& sources, bool with_tools) {
  if (!sources.jinja_file.empty() && file_exists(sources.jinja_file)) {
    return ChatTemplateText{read_text_file(sources.jinja_file, kMaxTemplateFileBytes), sources.jinja_file};
  }
  if (!sources.tokenizer_config.empty() && file_exists(sources.tokenizer_config)) {
    if (auto text = from_tokenizer_config(sources.tokenizer_config, with_tools)) {
      return ChatTemplateText{std::move(*text), "chat_template of " + sources.tokenizer_config};
    }
  }
  if (sources.gguf) return ChatTemplateText{*sources.gguf, "tokenizer.chat_template"};
  return std::nullopt;
}

}  // namespace plimsoll
