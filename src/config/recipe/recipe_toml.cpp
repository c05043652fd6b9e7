#include "config/recipe/recipe_toml.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#define TOML_HEADER_ONLY 1
#define TOML_ENABLE_UNRELEASED_FEATURES 0
// Its assertions doubt the input, which is the user's: a release build reports the same as an error.
#define TOML_ASSERT(condition) static_assert(true)
#include <toml++/toml.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "config/recipe/recipe_fields.h"

namespace plimsoll {
namespace {

constexpr int64_t kMaxRecipeBytes = kMiB;

std::string toml_string(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') quoted += '\\', quoted += c;
    else if (byte < 0x20 || byte == 0x7F) quoted += fmt::format("\\u{:04X}", byte);
    else quoted += c;
  }
  return quoted + "\"";
}

// Shortest form that reads back the same; always a TOML float, never an integer.
std::string toml_float(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string toml_value(const RecipeField& field, const FieldValue& value) {
  if (const bool* on = std::get_if<bool>(&value)) return *on ? "true" : "false";
  if (const double* number = std::get_if<double>(&value)) return toml_float(*number);
  if (const auto* text = std::get_if<std::string>(&value)) return toml_string(*text);
  if (const auto* texts = std::get_if<std::vector<std::string>>(&value)) {
    std::string array = "[";
    for (const std::string& text : *texts) array += (array.size() > 1 ? ", " : "") + toml_string(text);
    return array + "]";
  }
  if (const auto* numbers = std::get_if<std::vector<double>>(&value)) {
    std::string array = "[";
    for (const double number : *numbers) array += (array.size() > 1 ? ", " : "") + toml_float(number);
    return array + "]";
  }
  const std::string text = field_text(field, value);
  return field.kind == FieldKind::size ? toml_string(text) : text;
}

std::string not_set_line(const RecipeField& field) { return fmt::format("# {} is not set", recipe_key(field)); }

std::string_view type_name(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "a list";
    case toml::node_type::string:
      return "text";
    case toml::node_type::integer:
      return "a whole number";
    case toml::node_type::floating_point:
      return "a number";
    case toml::node_type::boolean:
      return "true or false";
    default:
      return "a date or time";
  }
}

// The value of a key in the field's kind; `thing` names the place.
FieldValue from_toml(const RecipeField& field, const toml::node& node, const std::string& thing) {
  const auto wrong = [&](std::string_view want) {
    return caller_error(thing, fmt::format("is {}, not {}", type_name(node), want),
                        fmt::format("write it like: {} = {}", recipe_key(field),
                                    want == "a list of two numbers"  ? "[0.9, 0.999]"
                                    : field.kind == FieldKind::texts ? toml_string(field.example)
                                                                     : std::string(field.example)));
  };
  const auto* text = node.as_string();
  const auto* whole = node.as_integer();
  switch (field.kind) {
    case FieldKind::text:
      if (text == nullptr)
        throw caller_error(thing, fmt::format("is {}, not text", type_name(node)),
                           fmt::format("write it like: {} = {}", recipe_key(field), toml_string(field.example)));
      return text->get();
    case FieldKind::word:
      if (text == nullptr)
        throw caller_error(thing, fmt::format("is {}, not text", type_name(node)),
                           fmt::format("write it like: {} = {}", recipe_key(field), toml_string(field.example)));
      return text->get();
    case FieldKind::texts: {
      if (text != nullptr) return std::vector<std::string>{text->get()};
      const auto* array = node.as_array();
      if (array == nullptr) throw wrong("text or a list of texts");
      std::vector<std::string> texts;
      for (const toml::node& item : *array) {
        const auto* item_text = item.as_string();
        if (item_text == nullptr)
          throw caller_error(thing, fmt::format("has an entry that is {}, not text", type_name(item)),
                             fmt::format("write it like: {} = [\"a.jsonl\", \"b.jsonl\"]", recipe_key(field)));
        texts.push_back(item_text->get());
      }
      return texts;
    }
    case FieldKind::on_off:
    case FieldKind::flag:
      if (const auto* on = node.as_boolean()) return on->get();
      if (text != nullptr && (text->get() == "on" || text->get() == "off")) return text->get() == "on";
      throw caller_error(thing, fmt::format("is {}, not true or false", type_name(node)),
                         fmt::format("write it like: {} = true", recipe_key(field)));
    case FieldKind::integer:
      if (whole != nullptr) return whole->get();
      if (text != nullptr && !field.words.empty()) return text->get();
      throw wrong(field.words.empty() ? "a whole number" : "a whole number or one of its words");
    case FieldKind::number:
      if (whole != nullptr) return static_cast<double>(whole->get());
      if (const auto* number = node.as_floating_point()) return number->get();
      throw wrong("a number");
    case FieldKind::pair: {
      std::vector<double> numbers;
      if (const auto* array = node.as_array())
        for (const toml::node& item : *array)
          if (const auto number = item.value<double>()) numbers.push_back(*number);
      if (node.as_array() == nullptr || numbers.size() != 2 || node.as_array()->size() != 2)
        throw wrong("a list of two numbers");
      return numbers;
    }
    case FieldKind::size:
      if (whole != nullptr) return whole->get();
      if (text != nullptr && std::find(field.words.begin(), field.words.end(), text->get()) != field.words.end())
        return text->get();
      if (text != nullptr) return parse_bytes(text->get(), thing);
      throw wrong("a size");
  }
  return {};
}

}  // namespace

void apply_recipe_toml(Recipe& recipe, std::string_view text, std::string_view source) {
  const std::string file = one_line(source);
  toml::table table;
  try {
    table = toml::parse(text);
  } catch (const toml::parse_error& error) {
    throw caller_error(fmt::format("{} line {}", file, error.source().begin.line), one_line(error.description()),
                       "write one key = value a line, texts in quotes: model = \"folder\"");
  }
  for (const auto& [key, node] : table) {
    const std::string place = fmt::format("{} line {}", file, node.source().begin.line);
    const std::string name(key.str());
    const RecipeField* field = name.find('-') == std::string::npos ? find_recipe_field(name) : nullptr;
    if (field == nullptr) {
      std::vector<std::string> keys;
      for (const RecipeField& known : recipe_fields()) keys.push_back(recipe_key(known));
      const std::vector<std::string_view> names(keys.begin(), keys.end());
      const std::string_view near = nearest_name(name, names);
      throw caller_error(place, fmt::format("unknown key '{}'", one_line(name, 80)),
                         near.empty() ? "plimsoll train --help lists the keys, as flags with - for _"
                                      : fmt::format("did you mean {}?", near));
    }
    const std::string thing = fmt::format("{}, {}", place, name);
    const FieldValue value = from_toml(*field, node, thing);
    check_field_value(*field, value, thing);
    field->set(recipe, value);
  }
}

Recipe read_recipe_file(const std::string& path) {
  const std::string name = one_line(path);
  std::error_code status;
  if (std::filesystem::is_directory(path, status))
    throw caller_error(name, "is a folder, not a recipe", "give the recipe.toml in it");
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    const int reason = errno;
    if (reason == ENOENT || reason == ENOTDIR)
      throw caller_error(name, "there is no such file", "give a recipe.toml, or the recipe as flags");
    throw world_error(name, "cannot be opened", "check who may read it", reason);
  }
  std::string text(static_cast<size_t>(kMaxRecipeBytes) + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) throw world_error(name, "cannot be read", "check the disk", errno);
  text.resize(static_cast<size_t>(file.gcount()));
  if (static_cast<int64_t>(text.size()) > kMaxRecipeBytes)
    throw caller_error(name, "is larger than 1 MiB", "give a recipe.toml");
  Recipe recipe;
  apply_recipe_toml(recipe, text, path);
  return recipe;
}

std::vector<const RecipeField*> lost_recipe_fields(std::string_view text) {
  const auto has_line = [&](std::string_view begin) {
    for (size_t at = text.find(begin); at != std::string_view::npos; at = text.find(begin, at + 1))
      if (at == 0 || text[at - 1] == '\n') return true;
    return false;
  };
  std::vector<const RecipeField*> lost;
  for (const RecipeField& field : recipe_fields()) {
    const std::string key = recipe_key(field);
    if (!has_line(key + " =") && !has_line(key + "=") && !has_line(not_set_line(field))) lost.push_back(&field);
  }
  return lost;
}

std::string write_recipe_toml(const Recipe& recipe) {
  std::string text = "# A recipe for plimsoll: every field, defaults written out. Flags override it.\n";
  std::string_view group;
  for (const RecipeField& field : recipe_fields()) {
    if (field.group != group) {
      group = field.group;
      text += fmt::format("\n# --- {} ---\n", group);
    }
    const FieldValue value = field.get(recipe);
    check_field_value(field, value, recipe_key(field));
    text += fmt::format("\n# {}{}{}\n", field.help, field.words.empty() ? "" : ": ",
                        field.words.empty() ? "" : field.value_name);
    if (std::holds_alternative<std::monostate>(value)) text += not_set_line(field) + "\n";
    else text += fmt::format("{} = {}\n", recipe_key(field), toml_value(field, value));
  }
  return text;
}

}  // namespace plimsoll
