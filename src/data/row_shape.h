// What a row of data is, by the names of its columns.
//
//   ids          input_ids, with optional `labels` and `attention_mask`
//   chat         messages: a list of {role, content}, with optional `tools`, `documents`, `chat_template_kwargs`
//   sharegpt     conversations: a list of {from, value}, with optional `system` and `tools`
//   preference   chosen and rejected: two texts (behind `prompt`), or two lists of messages
//   prompt       prompt and completion: two texts, taken as they are, or two lists of messages
//   instruction  instruction | question | query | prompt, optional input | context, output | response | answer;
//                optional `system` and `history` (pairs of earlier instructions and outputs)
//   text         text: a document
// Looked for in this order. A column whose value is null is not there.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "config/recipe/recipe.h"
#include "data/jinja/value.h"

namespace plimsoll {

inline constexpr size_t kDataShapeCount = 8;
const char* name_of(DataShape shape);  // as --data-shape says it

// nullptr where the row, which is a dict, has no such column.
const jinja::Value* field(const jinja::Value& row, std::string_view name);
// The first of `names` that is there.
const jinja::Value* field_of(const jinja::Value& row, std::span<const std::string_view> names);

inline constexpr std::string_view kInstruction[] = {"instruction", "question", "query", "prompt"};
inline constexpr std::string_view kInput[] = {"input", "context"};
inline constexpr std::string_view kOutput[] = {"output", "response", "answer"};

// What is wrong with a row, without its place.
struct BadRow {
  std::string problem, way_out;
};

// The row's shape: `wanted` unless that is automatic. Throws BadRow for a row that is no object, or lacks the columns.
DataShape shape_of(const jinja::Value& row, DataShape wanted);

// The row with its columns under the names of `fields` ("text=body"); what had such a name before is left out.
jinja::Value rename_fields(const jinja::Value& row, std::span<const std::string> fields);

// ShareGPT turns as messages, a `system` of the row in front. Throws BadRow.
jinja::Value sharegpt_messages(const jinja::Value& row);

// The messages of an instruction row. Throws BadRow.
jinja::Value instruction_messages(const jinja::Value& row);

// An instruction row for a model without chat template: the layout of Stanford Alpaca (Taori et al. 2023), up to where
// the answer begins. Throws BadRow.
std::string alpaca_prompt(const jinja::Value& row);

// A text column that must be there. Throws BadRow.
const std::string& text_of(const jinja::Value& row, std::span<const std::string_view> names);

}  // namespace plimsoll
