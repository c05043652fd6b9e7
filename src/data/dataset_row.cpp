#include "data/dataset_row.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "data/jinja/json.h"
#include "data/row_shape.h"

namespace plimsoll {
namespace {

using jinja::Value;

const char* const kShapes = "give each row `text`, `messages`, `prompt` and `completion`, or `input_ids`";

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
  if (const Value* tools = field(row, "tools"))  // a list, or the list as JSON in a text
    request.tools = list_field(tools->is_string() ? jinja::parse_json(tools->text()) : *tools, place, "tools");
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

// Whether a token of the whole stands across the end of the prompt, or the prompt alone is cut into other tokens: what
// generate is given is then not what the model was trained behind.
bool is_prompt_cut(const std::string& prompt, const std::vector<int32_t>& whole, const DatasetOptions& options) {
  const std::vector<int32_t> alone = options.encode(prompt, true);
  const auto left =
      static_cast<size_t>(alone.end() - std::mismatch(alone.begin(), alone.end(), whole.begin(), whole.end()).first);
  if (left == 0) return false;
  const std::vector<int32_t> around = options.encode("", true);  // perhaps a token that ends every text
  return left > around.size() || !std::equal(alone.end() - static_cast<ptrdiff_t>(left), alone.end(),
                                             around.end() - static_cast<ptrdiff_t>(left));
}

// `completion` behind `prompt`, as one document; it alone counts where the loss is on assistant tokens.
TokenizedRow continued_row(const std::string& prompt, const std::string& completion, const DatasetOptions& options) {
  const std::string text = prompt + completion;
  const ByteSpan span{static_cast<int64_t>(prompt.size()), static_cast<int64_t>(text.size())};
  TokenizedRow out =
      options.loss_on == LossOn::all ? encode_all(text, true, options) : encode_spans(text, true, {&span, 1}, options);
  out.prompt_cut = !prompt.empty() && !completion.empty() && is_prompt_cut(prompt, out.ids, options);
  append_eos(out, options);
  return out;
}

TokenizedRow completion_row(const Value& row, const Value& prompt, const Value& completion, const std::string& place,
                            const DatasetOptions& options) {
  if (prompt.is_list() && completion.is_list()) {
    std::vector<Value> messages = prompt.items();
    messages.insert(messages.end(), completion.items().begin(), completion.items().end());
    return chat_row(row, Value::list(std::move(messages)), place, options);
  }
  if (!prompt.is_string() || !completion.is_string())
    throw BadRow{"prompt and completion are neither two strings nor two lists of messages", kShapes};
  return continued_row(prompt.text(), completion.text(), options);
}

TokenizedRow instruction_row(const Value& row, const std::string& place, const DatasetOptions& options) {
  if (options.chat_template != nullptr) return chat_row(row, instruction_messages(row), place, options);
  return continued_row(alpaca_prompt(row), text_of(row, kOutput), options);
}

// One side of a pair: a conversation of its own, or what follows `prompt`.
TokenizedRow answer_row(const Value& row, const Value* prompt, const Value& answer, const std::string& place,
                        const DatasetOptions& options) {
  if (answer.is_string()) {
    if (prompt != nullptr && !prompt->is_string())
      throw BadRow{"prompt is not a string, as chosen and rejected are", "give all three as texts or as messages"};
    return continued_row(prompt != nullptr ? prompt->text() : "", answer.text(), options);
  }
  if (prompt == nullptr || !prompt->is_list()) return chat_row(row, answer, place, options);
  return completion_row(row, *prompt, answer, place, options);
}

TokenizedRow preference_row(const Value& row, const std::string& place, const DatasetOptions& options) {
  const Value &chosen = *field(row, "chosen"), &rejected = *field(row, "rejected");
  if (!(chosen.is_string() && rejected.is_string()) && !(chosen.is_list() && rejected.is_list()))
    throw BadRow{"chosen and rejected are neither two strings nor two lists of messages", "give both in one form"};
  if (jinja::equal(chosen, rejected)) throw BadRow{"chosen and rejected are the same", "leave the row out"};
  const Value* prompt = field(row, "prompt");
  TokenizedRow out = answer_row(row, prompt, chosen, place, options);
  TokenizedRow other = answer_row(row, prompt, rejected, place, options);
  check_ids(other.ids, place, options.vocab_size);
  out.rejected_ids = std::move(other.ids);
  return out;
}

TokenizedRow text_row(const Value& row, const TextPiece& piece, const DatasetOptions& options) {
  static constexpr std::string_view kText[] = {"text"};
  const std::string& text = text_of(row, kText);
  if (options.loss_on == LossOn::assistant)
    throw BadRow{"the row is plain text, and the loss is asked for on assistant tokens only",
                 "use --loss-on all, or give rows with `messages` or `prompt` and `completion`"};
  TokenizedRow out = encode_all(text, piece.first && piece.last, options);
  if (piece.first && !piece.last) {  // what the tokenizer puts in front of a document
    const std::vector<int32_t> around = options.encode("", true);
    if (!around.empty() && around.front() != options.eos_token_id) {
      out.ids.insert(out.ids.begin(), around.front());
      out.labels = out.ids;
    }
  }
  if (piece.last) append_eos(out, options);
  out.is_piece = piece.is_piece;
  return out;
}

TokenizedRow row_of_shape(const Value& row, const TextPiece& piece, const std::string& place,
                          const DatasetOptions& options) {
  const DataShape shape = shape_of(row, options.shape);
  TokenizedRow out;
  switch (shape) {
    case DataShape::ids:
      out = ready_row(row, place, options);
      break;
    case DataShape::chat:
      out = chat_row(row, *field(row, "messages"), place, options);
      break;
    case DataShape::sharegpt:
      out = chat_row(row, sharegpt_messages(row), place, options);
      break;
    case DataShape::preference:
      out = preference_row(row, place, options);
      break;
    case DataShape::prompt:
      out = completion_row(row, *field(row, "prompt"), *field(row, "completion"), place, options);
      break;
    case DataShape::instruction:
      out = instruction_row(row, place, options);
      break;
    case DataShape::text:
    case DataShape::automatic:
      out = text_row(row, piece, options);
      break;
  }
  out.shape = shape;
  if (!out.ready) check_ids(out.ids, place, options.vocab_size);
  return out;
}

}  // namespace

TokenizedRow tokenize_row(const Value& row, const TextPiece& piece, const std::string& place,
                          const DatasetOptions& options) {
  try {
    return row_of_shape(rename_fields(row, options.fields), piece, place, options);
  } catch (const BadRow& bad) {
    throw caller_error(place, bad.problem, bad.way_out);
  } catch (const jinja::Failure& failure) {
    throw caller_error(place, one_line(failure.what()), kShapes);
  }
}

}  // namespace plimsoll
