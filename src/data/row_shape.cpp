#include "data/row_shape.h"

#include <algorithm>
#include <array>

#include "base/text.h"
#include "data/jinja/value.h"

namespace plimsoll {
namespace {

using jinja::Value;

const char* const kWayOut =
    "give each row `text`, `messages`, `prompt` and `completion`, `instruction` and `output`, `conversations` or "
    "`input_ids`; name other columns with --field, as in --field text=body";

bool has(const Value& row, std::string_view name) { return field(row, name) != nullptr; }
bool has_one(const Value& row, std::span<const std::string_view> names) { return field_of(row, names) != nullptr; }

bool is_shape(const Value& row, DataShape shape) {
  switch (shape) {
    case DataShape::ids:
      return has(row, "input_ids");
    case DataShape::chat:
      return has(row, "messages");
    case DataShape::sharegpt:
      return has(row, "conversations");
    case DataShape::preference:
      return has(row, "chosen") && has(row, "rejected");
    case DataShape::prompt:
      return has(row, "prompt") && has(row, "completion");
    case DataShape::instruction:
      return has_one(row, kInstruction) && has_one(row, kOutput);
    case DataShape::text:
      return has(row, "text");
    case DataShape::automatic:
      break;
  }
  return false;
}

std::string column_names(const Value& row) {
  std::string names;
  for (const auto& [key, value] : row.as_dict().entries)
    if (names.size() < 80)
      names += (names.empty() ? "" : ", ") + one_line(key.text(), 40) + (value.is_none() ? " (null)" : "");
  return names.empty() ? "none at all" : names;
}

Value message(const char* role, const Value& content) {
  return Value::dict({{Value::string("role"), Value::string(role)}, {Value::string("content"), content}});
}

const Value* system_of(const Value& row) {
  const Value* system = field(row, "system");
  if (system == nullptr) return nullptr;
  if (!system->is_string()) throw BadRow{"system is not a string", "give it as text"};
  return system->text().empty() ? nullptr : system;
}

// The role that a turn's author plays; nullptr: not known.
const char* role_of(std::string_view from) {
  static constexpr std::array<std::pair<std::string_view, const char*>, 13> kRoles = {{{"human", "user"},
                                                                                       {"user", "user"},
                                                                                       {"gpt", "assistant"},
                                                                                       {"assistant", "assistant"},
                                                                                       {"model", "assistant"},
                                                                                       {"chatgpt", "assistant"},
                                                                                       {"bard", "assistant"},
                                                                                       {"bing", "assistant"},
                                                                                       {"function_call", "assistant"},
                                                                                       {"system", "system"},
                                                                                       {"tool", "tool"},
                                                                                       {"function", "tool"},
                                                                                       {"observation", "tool"}}};
  for (const auto& [name, role] : kRoles)
    if (name == from) return role;
  return nullptr;
}

// Instruction and, on a line of its own, the input.
std::string question_of(const Value& row) {
  std::string text = text_of(row, kInstruction);
  if (const Value* input = field_of(row, kInput)) {
    if (!input->is_string()) throw BadRow{"input is not a string", "give it as text"};
    if (!input->text().empty()) text += "\n" + input->text();
  }
  return text;
}

}  // namespace

const char* name_of(DataShape shape) {
  constexpr std::array<const char*, kDataShapeCount> kNames = {"auto", "text",     "prompt",     "instruction",
                                                               "chat", "sharegpt", "preference", "ids"};
  return kNames[static_cast<size_t>(shape)];
}

const Value* field(const Value& row, std::string_view name) {
  const Value* value = row.as_dict().find(name);
  return value != nullptr && !value->is_none() ? value : nullptr;
}

const Value* field_of(const Value& row, std::span<const std::string_view> names) {
  for (const std::string_view name : names)
    if (const Value* value = field(row, name)) return value;
  return nullptr;
}

const std::string& text_of(const Value& row, std::span<const std::string_view> names) {
  for (const std::string_view name : names) {
    const Value* value = field(row, name);
    if (value == nullptr) continue;
    if (!value->is_string()) throw BadRow{std::string(name) + " is not a string", kWayOut};
    return value->text();
  }
  throw BadRow{"the row has no " + std::string(names.front()), kWayOut};
}

DataShape shape_of(const Value& row, DataShape wanted) {
  if (!row.is_dict()) throw BadRow{"the line is not a JSON object", kWayOut};
  if (wanted != DataShape::automatic) {
    if (is_shape(row, wanted)) return wanted;
    throw BadRow{
        std::string("the row is not of the shape ") + name_of(wanted) + ", its columns are: " + column_names(row),
        "leave --data-shape out, or name the columns with --field, as in --field text=body"};
  }
  for (const DataShape shape : {DataShape::ids, DataShape::chat, DataShape::sharegpt, DataShape::preference,
                                DataShape::prompt, DataShape::instruction, DataShape::text})
    if (is_shape(row, shape)) return shape;
  throw BadRow{"the row has none of the known keys, only: " + column_names(row), kWayOut};
}

Value rename_fields(const Value& row, std::span<const std::string> fields) {
  if (fields.empty() || !row.is_dict()) return row;
  std::vector<std::pair<Value, Value>> entries;
  const auto column_of = [&](std::string_view name) -> const std::string* {
    for (const std::string& f : fields)
      if (std::string_view(f).substr(0, f.find('=')) == name) return &f;
    return nullptr;
  };
  for (const auto& entry : row.as_dict().entries) {
    bool renamed = column_of(entry.first.text()) != nullptr;  // its name is taken
    for (const std::string& f : fields) {
      const size_t equals = f.find('=');
      if (f.substr(equals + 1) != entry.first.text()) continue;
      entries.emplace_back(Value::string(f.substr(0, equals)), entry.second);
      renamed = true;
    }
    if (!renamed) entries.push_back(entry);
  }
  return Value::dict(std::move(entries));
}

Value sharegpt_messages(const Value& row) {
  const Value& turns = *field(row, "conversations");
  if (!turns.is_list()) throw BadRow{"conversations is not a list", kWayOut};
  std::vector<Value> messages;
  if (const Value* system = system_of(row)) messages.push_back(message("system", *system));
  for (size_t i = 0; i < turns.items().size(); ++i) {
    const Value& turn = turns.items()[i];
    const std::string name = "conversations[" + std::to_string(i) + "]";
    if (!turn.is_dict()) throw BadRow{name + " is not an object", "give each turn `from` and `value`"};
    const Value* from = field(turn, "from");
    const Value* value = field(turn, "value");
    if (from == nullptr && field(turn, "role") != nullptr) {  // messages under another name
      messages.push_back(turn);
      continue;
    }
    if (from == nullptr || value == nullptr || !from->is_string() || !value->is_string())
      throw BadRow{name + " has no `from` and `value` that are texts", "give each turn both"};
    const char* role = role_of(from->text());
    if (role == nullptr)
      throw BadRow{name + " is from '" + one_line(from->text(), 40) + "', which is nobody known",
                   "write human, gpt, system, tool, function_call or observation"};
    if (i == 0 && std::string_view(role) == "system") messages.clear();  // the conversation's own
    messages.push_back(message(role, *value));
  }
  if (turns.items().empty()) throw BadRow{"conversations is empty", "leave the row out"};
  return Value::list(std::move(messages));
}

Value instruction_messages(const Value& row) {
  std::vector<Value> messages;
  if (const Value* system = system_of(row)) messages.push_back(message("system", *system));
  if (const Value* history = field(row, "history")) {
    if (!history->is_list()) throw BadRow{"history is not a list", "give a list of [instruction, output]"};
    for (const Value& pair : history->items()) {
      if (!pair.is_list() || pair.items().size() != 2 || !pair.items()[0].is_string() || !pair.items()[1].is_string())
        throw BadRow{"history has an entry that is not two texts", "give a list of [instruction, output]"};
      messages.push_back(message("user", pair.items()[0]));
      messages.push_back(message("assistant", pair.items()[1]));
    }
  }
  messages.push_back(message("user", Value::string(question_of(row))));
  messages.push_back(message("assistant", Value::string(text_of(row, kOutput))));
  return Value::list(std::move(messages));
}

std::string alpaca_prompt(const Value& row) {
  if (const Value* history = field(row, "history"); history != nullptr && jinja::is_true(*history))
    throw BadRow{"the row has a history, and the model has no chat template",
                 "put a chat_template.jinja into the model's folder, or leave `history` out"};
  const Value* input = field_of(row, kInput);
  if (input != nullptr && !input->is_string()) throw BadRow{"input is not a string", "give it as text"};
  const bool has_input = input != nullptr && !input->text().empty();
  const Value* system = system_of(row);
  std::string text = system != nullptr ? system->text()
                     : has_input ? "Below is an instruction that describes a task, paired with an input that provides "
                                   "further context. Write a response that appropriately completes the request."
                                 : "Below is an instruction that describes a task. Write a response that "
                                   "appropriately completes the request.";
  text += "\n\n### Instruction:\n" + text_of(row, kInstruction);
  if (has_input) text += "\n\n### Input:\n" + input->text();
  return text + "\n\n### Response:\n";
}

}  // namespace plimsoll
