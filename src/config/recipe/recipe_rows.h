// How the rows of recipe_fields.h reach the members of a Recipe: the words of enumerations, and for each kind of member
// a way there and back. Internal to config/recipe_fields*.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "config/recipe/recipe_fields.h"

namespace plimsoll::recipe_rows {

// --- the words of each enumeration, in its order --------------------------------------------------------------------

template <typename Enum>
using Words = std::vector<std::pair<std::string_view, Enum>>;

template <typename Enum>
const Words<Enum>& words_of();
template <>
inline const Words<Method>& words_of() {
  static const Words<Method> words = {{"full", Method::full},
                                      {"lora", Method::lora},
                                      {"qlora", Method::qlora},
                                      {"dora", Method::dora},
                                      {"qat", Method::qat}};
  return words;
}
template <>
inline const Words<DType>& words_of() {
  static const Words<DType> words = {{"fp32", DType::f32}, {"bf16", DType::bf16}, {"fp16", DType::f16}};
  return words;
}
template <>
inline const Words<QatType>& words_of() {
  static const Words<QatType> words = {{"int8", QatType::int8}, {"int4", QatType::int4}};
  return words;
}
template <>
inline const Words<OptimizerKind>& words_of() {
  static const Words<OptimizerKind> words = {{"adamw", OptimizerKind::adamw},
                                             {"adam", OptimizerKind::adam},
                                             {"sgd", OptimizerKind::sgd},
                                             {"adamw8bit", OptimizerKind::adamw8bit},
                                             {"adafactor", OptimizerKind::adafactor}};
  return words;
}
template <>
inline const Words<LrScheduleKind>& words_of() {
  static const Words<LrScheduleKind> words = {
      {"constant", LrScheduleKind::constant}, {"linear", LrScheduleKind::linear}, {"cosine", LrScheduleKind::cosine}};
  return words;
}
template <>
inline const Words<LossOn>& words_of() {
  static const Words<LossOn> words = {{"all", LossOn::all}, {"assistant", LossOn::assistant}};
  return words;
}

template <>
inline const Words<DataShape>& words_of() {
  static const Words<DataShape> words = {
      {"auto", DataShape::automatic},          {"text", DataShape::text}, {"prompt", DataShape::prompt},
      {"instruction", DataShape::instruction}, {"chat", DataShape::chat}, {"sharegpt", DataShape::sharegpt},
      {"preference", DataShape::preference},   {"ids", DataShape::ids}};
  return words;
}
template <>
inline const Words<BadRows>& words_of() {
  static const Words<BadRows> words = {{"fail", BadRows::fail}, {"skip", BadRows::skip}};
  return words;
}
template <>
inline const Words<Overlong>& words_of() {
  static const Words<Overlong> words = {
      {"truncate", Overlong::truncate}, {"drop", Overlong::drop}, {"split", Overlong::split}};
  return words;
}
template <>
inline const Words<TextSplit>& words_of() {
  static const Words<TextSplit> words = {
      {"file", TextSplit::file}, {"paragraph", TextSplit::paragraph}, {"line", TextSplit::line}};
  return words;
}

template <>
inline const Words<StreamMode>& words_of() {
  static const Words<StreamMode> words = {{"auto", StreamMode::automatic},
                                          {"off", StreamMode::off},
                                          {"on", StreamMode::on},
                                          {"weights", StreamMode::weights},
                                          {"inputs", StreamMode::inputs}};
  return words;
}

template <>
inline const Words<RecomputeKeep>& words_of() {
  static const Words<RecomputeKeep> words = {
      {"auto", RecomputeKeep::automatic}, {"nothing", RecomputeKeep::nothing}, {"attention", RecomputeKeep::attention}};
  return words;
}

template <typename Enum>
std::vector<std::string_view> names_of() {
  std::vector<std::string_view> names;
  for (const auto& [name, value] : words_of<Enum>()) names.push_back(name);
  return names;
}

// --- how a member of Recipe becomes a FieldValue and back -----------------------------------------------------------

template <auto Member, typename T>  // the member is a T
struct Plain {
  static FieldValue get(const Recipe& recipe) { return static_cast<T>(recipe.*Member); }
  static void set(Recipe& recipe, const FieldValue& value) { recipe.*Member = std::get<T>(value); }
};

template <auto Member, typename T>  // optional<T>; unset is not set
struct Optional {
  static FieldValue get(const Recipe& recipe) { return recipe.*Member ? FieldValue(*(recipe.*Member)) : FieldValue(); }
  static void set(Recipe& recipe, const FieldValue& value) {
    if (const T* given = std::get_if<T>(&value)) recipe.*Member = *given;
    else (recipe.*Member).reset();
  }
};

template <auto Member>  // optional<int64_t>; unset is the word "auto"
struct Auto {
  static FieldValue get(const Recipe& recipe) {
    return recipe.*Member ? FieldValue(*(recipe.*Member)) : FieldValue(std::string("auto"));
  }
  static void set(Recipe& recipe, const FieldValue& value) {
    if (const int64_t* given = std::get_if<int64_t>(&value)) recipe.*Member = *given;
    else (recipe.*Member).reset();
  }
};

template <auto Member, typename Enum>
struct Word {
  static FieldValue get(const Recipe& recipe) {
    for (const auto& [name, value] : words_of<Enum>())
      if (value == recipe.*Member) return std::string(name);
    return {};
  }
  static void set(Recipe& recipe, const FieldValue& value) {
    for (const auto& [name, meaning] : words_of<Enum>())
      if (name == std::get<std::string>(value)) recipe.*Member = meaning;
  }
};

template <typename Access>
RecipeField bind(RecipeField field) {
  field.get = Access::get;
  field.set = Access::set;
  return field;
}

constexpr double kMaxSteps = 1e12;

// The rows of one heading.
class Group {
 public:
  Group(std::vector<RecipeField>& fields, std::string_view name) : fields_(fields), name_(name) {}
  void add(RecipeField field) {
    field.group = name_;
    fields_.push_back(std::move(field));
  }

 private:
  std::vector<RecipeField>& fields_;
  std::string_view name_;
};

void add_data_fields(Group group);
void add_method_fields(Group group);
void add_optimizer_fields(Group group);
void add_batch_fields(Group group);
void add_memory_fields(Group group);
void add_run_fields(Group group);

}  // namespace plimsoll::recipe_rows
