#include "data/dataset_row.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"

namespace plimsoll {
namespace {

using jinja::Value;

const char* const kShapes = "give each row `text`, `messages`, `prompt` and `completion`, or `input_ids`";

const Value* field(const Value& row, std::string_view name) {
  const Value* value = row.as_dict().find(name);
  return value != nullptr && !value->is_none() ? value : nullptr;
}

const Value& list_field(const Value& value, const std::string& place, const char* name) {
  if (!value.is_list()) throw caller_error(place, std::string(name) + " is not a list", kShapes);
  return value;
}

void check_ids(std::span<const int32_t> ids, const std::string& place, int64_t vocab_size) {
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocab_size) {
      throw caller_error(
          place, "token id " + std::to_string(id) + " is outside the vocabulary of " + std::to_string(vocab_size),
          "use the tokenizer that belongs to the model");
    }
  }
}

// --- ready ids ------------------------------------------------------------------------------------------------------

std::vector<int32_t> integers(const Value& value, const std::string& place, const char* name, int64_t low, int64_t high,
                              bool ignored) {
  std::vector<int32_t> out;
  const std::vector<Value>& items = list_field(value, place, name).items();
  out.reserve(items.size());
  for (size_t i = 0; i < items.size(); ++i) {
    const bool integer = items[i].is_integer();
    const jinja::Int number = integer ? items[i].as_integer() : 0;
    if (!integer || !((number >= low && number <= high) || (ignored && number == kIgnoredLabel))) {
      const std::string found =
          integer || items[i].kind() == jinja::Kind::real ? jinja::to_text(items[i]) : jinja::type_name(items[i]);
      throw caller_error(place,
                         std::string(name) + "[" + std::to_string(i) + "] is " + found + ", not an integer from " +
                             std::to_string(low) + " to " + std::to_string(high) + (ignored ? " or -100" : ""),
                         "tokenize the data with the tokenizer that belongs to the model");
    }
    out.push_back(static_cast<int32_t>(number));
  }
  return out;
}

TokenizedRow ready_row(const Value& row, const std::string& place, const DatasetOptions& options) {
  TokenizedRow out;
  out.ready = true;
  out.ids = integers(*field(row, "input_ids"), place, "input_ids", 0, options.vocab_size - 1, false);
  if (out.ids.empty()) throw caller_error(place, "input_ids is empty", "leave the row out");
  const auto same_length = [&](const std::vector<int32_t>& values, const char* name) {
    if (values.size() == out.ids.size()) return;
    throw caller_error(place,
                       std::string(name) + " has " + std::to_string(values.size()) + " values and input_ids " +
                           std::to_string(out.ids.size()),
                       "give both the same length");
  };
  const Value* labels = field(row, "labels");
  out.labels = labels != nullptr ? integers(*labels, place, "labels", 0, options.vocab_size - 1, true) : out.ids;
  same_length(out.labels, "labels");
  const Value* attention = field(row, "attention_mask");
  if (attention == nullptr) return out;
  const std::vector<int32_t> mask = integers(*attention, place, "attention_mask", 0, 1, false);
  same_length(mask, "attention_mask");
  const auto first = std::find(mask.begin(), mask.end(), 1);
  const auto last = std::find(mask.rbegin(), mask.rend(), 1).base();
  if (first != mask.end() && std::find(first, last, 0) != last) {
    throw caller_error(place, "attention_mask has a 0 between ones", "mask only padding at the ends");
  }
  for (size_t i = 0; i < mask.size(); ++i) {
    if (mask[i] != 0) continue;
    out.ids[i] = -1 - out.ids[i];
    if (labels == nullptr) out.labels[i] = kIgnoredLabel;
  }
  return out;
}

// --- text -----------------------------------------------------------------------------------------------------------

// Ids of a text, and labels where a token overlaps one of the spans.
TokenizedRow encode_spans(const std::string& text, bool add_special, std::span<const ByteSpan> spans,
                          const DatasetOptions& options) {
  PLIMSOLL_CHECK(options.encode_with_offsets, "loss on assistant tokens needs a tokenizer with offsets");
  EncodedText encoded = options.encode_with_offsets(text, add_special);
  PLIMSOLL_CHECK(encoded.ids.size() == encoded.byte_offsets.size(), "the tokenizer gave ids without offsets");
  TokenizedRow out;
  out.labels.assign(encoded.ids.size(), kIgnoredLabel);
  for (size_t i = 0; i < encoded.ids.size(); ++i) {
    const auto [begin, end] = encoded.byte_offsets[i];
    const bool inside = std::any_of(spans.begin(), spans.end(), [&](const ByteSpan& s) {
      return begin < end && begin < s.second && end > s.first;
    });
    if (inside) out.labels[i] = encoded.ids[i];
  }
  out.ids = std::move(encoded.ids);
  return out;
}

TokenizedRow encode_all(const std::string& text, bool add_special, const DatasetOptions& options) {
  TokenizedRow out;
  out.ids = options.encode(text, add_special);
  out.labels = out.ids;
  return out;
}

void append_eos(TokenizedRow& row, const DatasetOptions& options) {
  if (!options.eos_token_id || row.ids.empty()) return;
  if (row.ids.back() != *options.eos_token_id) {
    row.ids.push_back(*options.eos_token_id);
    row.labels.push_back(*options.eos_token_id);
  }
}

TokenizedRow chat_row(const Value& row, const Value& messages, const std::string& place,
                      const DatasetOptions& options) {
  if (options.chat_template == nullptr) {
    throw caller_error(place, "the row is a chat, and the model has no chat template",
                       "put a chat_template.jinja into the model's folder, or give rows with `text`");
  }
  ChatRequest request;
  request.messages = messages;
  if (messages.is_list() && messages.items().empty())
    throw caller_error(place, "messages is empty", "leave the row out");
  if (const Value* tools = field(row, "tools")) request.tools = list_field(*tools, place, "tools");
  if (const Value* documents = field(row, "documents")) request.documents = list_field(*documents, place, "documents");
  if (const Value* more = field(row, "chat_template_kwargs")) {
    if (!more->is_dict()) throw caller_error(place, "chat_template_kwargs is not an object", kShapes);
    for (const auto& [key, value] : more->as_dict().entries) request.variables.emplace_back(key.text(), value);
  }
  request.bos_token = options.bos_token;
  request.eos_token = options.eos_token;
  request.now = options.now;
  if (options.loss_on == LossOn::all) return encode_all(options.chat_template->render(request).text, false, options);
  const RenderedChat chat = options.chat_template->render_for_training(request);
  return encode_spans(chat.text, false, chat.assistant_spans, options);
}

TokenizedRow completion_row(const Value& row, const Value& prompt, const Value& completion, const std::string& place,
                            const DatasetOptions& options) {
  if (prompt.is_list() && completion.is_list()) {
    std::vector<Value> messages = prompt.items();
    messages.insert(messages.end(), completion.items().begin(), completion.items().end());
    return chat_row(row, Value::list(std::move(messages)), place, options);
  }
  if (!prompt.is_string() || !completion.is_string()) {
    throw caller_error(place, "prompt and completion are neither two strings nor two lists of messages", kShapes);
  }
  const std::string text = prompt.text() + completion.text();
  const ByteSpan span{static_cast<int64_t>(prompt.text().size()), static_cast<int64_t>(text.size())};
  TokenizedRow out =
      options.loss_on == LossOn::all ? encode_all(text, true, options) : encode_spans(text, true, {&span, 1}, options);
  append_eos(out, options);
  return out;
}

TokenizedRow text_row(const Value& text, const std::string& place, const DatasetOptions& options) {
  if (!text.is_string()) throw caller_error(place, "text is not a string", kShapes);
  if (options.loss_on == LossOn::assistant) {
    throw caller_error(place, "the row is plain text, and the loss is asked for on assistant tokens only",
                       "use --loss-on all, or give rows with `messages` or `prompt` and `completion`");
  }
  TokenizedRow out = encode_all(text.text(), true, options);
  append_eos(out, options);
  return out;
}

}  // namespace

TokenizedRow tokenize_row(const Value& row, const std::string& place, const DatasetOptions& options) {
  if (!row.is_dict()) throw caller_error(place, "the line is not a JSON object", kShapes);
  if (field(row, "input_ids") != nullptr) return ready_row(row, place, options);
  TokenizedRow out;
  if (const Value* messages = field(row, "messages")) {
    out = chat_row(row, *messages, place, options);
  } else if (const Value* prompt = field(row, "prompt"), *completion = field(row, "completion");
             prompt != nullptr && completion != nullptr) {
    out = completion_row(row, *prompt, *completion, place, options);
  } else if (const Value* text = field(row, "text")) {
    out = text_row(*text, place, options);
  } else {
    std::string keys;
    for (const auto& [key, value] : row.as_dict().entries) {
      if (keys.size() < 80) keys += (keys.empty() ? "" : ", ") + one_line(key.text(), 40);
    }
    throw caller_error(place, "the row has none of the known keys, only: " + (keys.empty() ? "none at all" : keys),
                       kShapes);
  }
  check_ids(out.ids, place, options.vocab_size);
  return out;
}

}  // namespace plimsoll
