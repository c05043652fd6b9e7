#include <fmt/format.h>

#include <ctime>
#include <memory>
#include <optional>

#include "base/bytes.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/input/input_file.h"
#include "cli/text/output.h"
#include "data/chat_template.h"
#include "data/jinja/json.h"
#include "data/model_text.h"
#include "data/token_offsets.h"

namespace plimsoll::cli {
namespace {

struct RenderOptions {
  std::string model, messages, tools, documents, now;
  std::vector<std::string> set;
  bool generation_prompt = false;
  bool json = false;
};

constexpr int64_t kMaxInputBytes = 64 * kMiB;

jinja::Value parse_file(const std::string& path, std::string_view flag) {
  const std::string text = read_input(path, kMaxInputBytes);
  try {
    return jinja::parse_json(text);
  } catch (const jinja::Failure& failure) {
    throw caller_error(one_line(path), fmt::format("is not JSON that {} can take: {}", flag, failure.what()),
                       "check the file with a JSON tool");
  }
}

// A list, or an object that has one under `key`.
jinja::Value list_in_file(const std::string& path, std::string_view flag, std::string_view key) {
  jinja::Value value = parse_file(path, flag);
  if (value.is_dict())
    if (const jinja::Value* inner = value.as_dict().find(key)) value = jinja::Value(*inner);
  if (!value.is_list())
    throw caller_error(one_line(path), fmt::format("has no list of {}", key),
                       fmt::format("write [{{…}}, …], or {{\"{}\": [{{…}}, …]}}", key));
  return value;
}

std::pair<std::string, jinja::Value> parse_setting(const std::string& setting) {
  const size_t equals = setting.find('=');
  if (equals == std::string::npos || equals == 0)
    throw caller_error("--set", fmt::format("'{}' is not NAME=VALUE", one_line(setting, 80)),
                       "for example --set enable_thinking=false");
  const std::string text = setting.substr(equals + 1);
  try {
    return {setting.substr(0, equals), jinja::parse_json(text)};
  } catch (const jinja::Failure&) {
    if (!is_valid_utf8(text))
      throw caller_error("--set", fmt::format("'{}' is not UTF-8", one_line(setting, 80)), "give text in UTF-8");
    return {setting.substr(0, equals), jinja::Value::string(text)};
  }
}

std::tm parse_now(const std::string& text) {
  const auto seconds = parse_integer(text);
  if (!seconds) return parse_local_time(text, "--now");
  const auto time = static_cast<std::time_t>(*seconds);
  std::tm now{};
  if (localtime_r(&time, &now) == nullptr)
    throw caller_error("--now", fmt::format("{} is no time of a calendar", text), "write it like 2026-01-31T12:00:00");
  return now;
}

ChatRequest request_of(const RenderOptions& options, const SpecialTexts& special) {
  ChatRequest request;
  request.messages = list_in_file(options.messages, "--messages", "messages");
  if (!options.tools.empty()) request.tools = list_in_file(options.tools, "--tools", "tools");
  if (!options.documents.empty()) request.documents = list_in_file(options.documents, "--documents", "documents");
  request.add_generation_prompt = options.generation_prompt;
  if (!special.bos.empty()) request.bos_token = special.bos;
  if (!special.eos.empty()) request.eos_token = special.eos;
  for (const std::string& setting : options.set) request.variables.push_back(parse_setting(setting));
  if (!options.now.empty()) request.now = parse_now(options.now);
  return request;
}

ChatTemplate load_template(const TextFiles& files, bool with_tools) {
  const auto found = find_chat_template(files, with_tools);
  if (!found)
    throw caller_error(one_line(files.source), "has no chat template",
                       "put a chat_template.jinja into the model's folder");
  return ChatTemplate(found->text, found->name);
}

// Without generation blocks the spans come from rendering prefixes; a template that does not allow that has no mask.
std::vector<ByteSpan> spans_of(const ChatTemplate& chat_template, const ChatRequest& request,
                               const RenderedChat& rendered) {
  if (chat_template.has_generation_blocks() || request.add_generation_prompt) return rendered.assistant_spans;
  try {
    return chat_template.render_for_training(request).assistant_spans;
  } catch (const Error& error) {
    log_warning(one_line(std::string("no assistant mask: ") + error.what()));
    return {};
  }
}

int run_render(const RenderOptions& options) {
  const TextFiles files = find_text_files(options.model);
  std::optional<Tokenizer> tokenizer;
  if (files.has_tokenizer() && (options.json || files.gguf)) tokenizer.emplace(load_model_tokenizer(files));
  const ChatTemplate chat_template = load_template(files, !options.tools.empty());
  const ChatRequest request = request_of(options, special_texts(files, tokenizer ? &*tokenizer : nullptr));
  const RenderedChat rendered = chat_template.render(request);
  if (!options.json) {
    write_result(rendered.text);
    return 0;
  }
  Json json;
  json["text"] = rendered.text;
  json["ids"] = nullptr;
  json["assistant_mask"] = nullptr;
  if (tokenizer) {
    const EncodedText encoded = encode_with_offsets(*tokenizer, rendered.text, false);
    json["ids"] = encoded.ids;
    json["assistant_mask"] = token_mask(encoded, spans_of(chat_template, request, rendered));
  }
  write_json_line(json);
  return 0;
}

}  // namespace

Command render_command() {
  auto options = std::make_shared<RenderOptions>();
  return {.name = "render",
          .summary = "the text that a chat template makes of messages",
          .examples = {"plimsoll render SmolLM2-135M-Instruct.gguf --messages chat.json --generation-prompt",
                       "plimsoll render model/ --messages chat.json --tools tools.json --set enable_thinking=false "
                       "--now 2026-01-31T12:00:00 --json"},
          .arguments = {{.name = "MODEL",
                         .value_name = "MODEL",
                         .help = "folder or .gguf file with a chat template",
                         .target = &options->model,
                         .required = true},
                        {.name = "--messages",
                         .value_name = "FILE.json",
                         .help = "a list of messages, or an object with messages; - is stdin",
                         .target = &options->messages,
                         .required = true},
                        {.name = "--generation-prompt",
                         .value_name = "",
                         .help = "end with the opening of the assistant's turn",
                         .target = &options->generation_prompt},
                        {.name = "--tools",
                         .value_name = "FILE.json",
                         .help = "a list of tools for the template",
                         .target = &options->tools},
                        {.name = "--documents",
                         .value_name = "FILE.json",
                         .help = "a list of documents for the template",
                         .target = &options->documents},
                        {.name = "--set",
                         .value_name = "NAME=VALUE",
                         .help = "a further variable, JSON or else text; may be repeated",
                         .target = &options->set},
                        {.name = "--now",
                         .value_name = "TIME",
                         .help = "the time that strftime_now sees: 2026-01-31T12:00:00 or seconds since 1970",
                         .target = &options->now}},
          .json = &options->json,
          .run = [options] { return run_render(*options); }};
}

}  // namespace plimsoll::cli
