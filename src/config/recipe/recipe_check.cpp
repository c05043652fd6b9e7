#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "base/words.h"
#include "config/quant_words.h"
#include "config/recipe/recipe_fields.h"

namespace plimsoll {
namespace {

// "a, b or c"
std::string either(std::span<const std::string_view> words) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i)
    text += fmt::format("{}{}", i == 0 ? "" : i + 1 == words.size() ? " or " : ", ", words[i]);
  return text;
}

std::string number_text(double value) { return fmt::format("{}", value); }

// What a value of this field looks like, for the second line of an error.
std::string wanted(const RecipeField& field) {
  const std::string range = field_range(field);
  const std::string in_range = range.empty() ? "" : ", " + range;
  switch (field.kind) {
    case FieldKind::on_off:
    case FieldKind::flag:
      return "on or off";
    case FieldKind::integer:
      return (field.words.empty() ? std::string() : either(field.words) + ", or ") + "a whole number" + in_range;
    case FieldKind::number:
      return "a number" + in_range;
    case FieldKind::pair:
      return "two numbers with a comma between, each " + (range.empty() ? "of any size" : range);
    case FieldKind::word:
      return either(field.words);
    case FieldKind::size:
      return "a size such as 900MiB, 2GiB, 24GB, or plain bytes";
    case FieldKind::text:
    case FieldKind::texts:
      break;
  }
  return "text";
}

Error wrong_value(const RecipeField& field, std::string_view text, std::string_view thing) {
  return caller_error(std::string(thing), fmt::format("'{}' is not {}", one_line(text, 80), wanted(field)),
                      field.kind == FieldKind::flag ? fmt::format("write --{0} or --{0}=off", field.name)
                                                    : fmt::format("for example --{} {}", field.name, field.example));
}

void check_word(const RecipeField& field, const std::string& word, std::string_view thing) {
  if (std::find(field.words.begin(), field.words.end(), word) != field.words.end()) return;
  throw wrong_value(field, word, thing);
}

void check_number(const RecipeField& field, double value, std::string_view shown, std::string_view thing) {
  const bool inside = value >= field.min && (field.below_max ? value < field.max : value <= field.max);
  if (!inside)  // also for a NaN
    throw caller_error(std::string(thing), fmt::format("{} is out of range", shown),
                       value > field.max && field.max >= 1e5  // which field_range leaves out
                           ? "give at most " + number_text(field.max)
                           : fmt::format("give {}", wanted(field)));
}

void check_text(const std::string& text, std::string_view thing) {
  if (!is_valid_utf8(text) || text.find('\0') != std::string::npos)
    throw caller_error(std::string(thing), fmt::format("'{}' is not UTF-8 text", one_line(text, 80)),
                       "rename the file, or give the name in UTF-8");
}

std::optional<bool> parse_on_off(std::string_view text) {
  if (text == "on" || text == "true") return true;
  if (text == "off" || text == "false") return false;
  return std::nullopt;
}

FieldValue parse_field(const RecipeField& field, const std::vector<std::string>& texts, std::string_view thing) {
  if (field.kind == FieldKind::texts) return texts;
  if (texts.empty() && field.kind == FieldKind::flag) return true;
  const std::string text = texts.empty() ? "" : texts.back();
  switch (field.kind) {
    case FieldKind::on_off:
    case FieldKind::flag:
      if (const auto value = parse_on_off(text)) return *value;
      break;
    case FieldKind::integer:
      if (const auto value = parse_integer(text)) return *value;
      if (!field.words.empty()) return text;
      break;
    case FieldKind::number:
      if (const auto value = parse_number(text)) return *value;
      break;
    case FieldKind::pair: {
      const size_t comma = text.find(',');
      const auto first = parse_number(text.substr(0, comma));
      const auto second = comma == std::string::npos ? std::nullopt : parse_number(text.substr(comma + 1));
      if (first && second) return std::vector<double>{*first, *second};
      break;
    }
    case FieldKind::size:
      if (std::find(field.words.begin(), field.words.end(), text) != field.words.end()) return text;
      return parse_bytes(text, thing);
    default:
      return text;
  }
  throw wrong_value(field, text, thing);
}

void check_targets(const std::string& targets) {
  for (const std::string& name : split_list(targets, ',')) {
    if (name.empty() || name.find_first_of(" \t") != std::string::npos)
      throw caller_error(
          "targets",
          fmt::format("'{}' has {}", one_line(targets, 80), name.empty() ? "an empty name" : "a space in a name"),
          "write all-linear, or names with commas between: q_proj,v_proj");
  }
}

// What shapes adapters means nothing without them. A recipe that a run wrote holds the defaults.
void check_adapter_fields(const Recipe& recipe) {
  if (recipe.method != Method::full) return;
  const Recipe defaults;
  const auto refuse = [](const char* field, const std::string& value) {
    throw caller_error(field, fmt::format("{} given, but --method full trains all weights and no adapter", value),
                       fmt::format("leave --{} out, or give --method lora", field));
  };
  if (recipe.rank != defaults.rank) refuse("rank", std::to_string(recipe.rank));
  if (recipe.alpha != defaults.alpha) refuse("alpha", number_text(recipe.alpha));
  if (recipe.targets != defaults.targets) refuse("targets", one_line(recipe.targets, 80));
  if (recipe.lora_dropout != 0) refuse("lora-dropout", number_text(recipe.lora_dropout));
  if (recipe.lora_plus_ratio != 1) refuse("lora-plus-ratio", number_text(recipe.lora_plus_ratio));
  if (recipe.rslora) refuse("rslora", "on");
}

// The names under which rows are understood (data/row_shape.h).
void check_fields(const std::vector<std::string>& fields) {
  static constexpr std::array<std::string_view, 23> kNames = {"text",
                                                              "prompt",
                                                              "completion",
                                                              "instruction",
                                                              "input",
                                                              "context",
                                                              "output",
                                                              "question",
                                                              "query",
                                                              "answer",
                                                              "response",
                                                              "messages",
                                                              "tools",
                                                              "documents",
                                                              "conversations",
                                                              "system",
                                                              "history",
                                                              "chosen",
                                                              "rejected",
                                                              "input_ids",
                                                              "labels",
                                                              "attention_mask",
                                                              "chat_template_kwargs"};
  for (const std::string& field : fields) {
    const size_t equals = field.find('=');
    if (equals == std::string::npos || equals + 1 == field.size())
      throw caller_error("field", fmt::format("'{}' is not NAME=COLUMN", one_line(field, 80)),
                         "for example --field text=body");
    const std::string_view name = std::string_view(field).substr(0, equals);
    if (std::find(kNames.begin(), kNames.end(), name) != kNames.end()) continue;
    const std::string_view near = nearest_name(name, kNames);
    throw caller_error("field", fmt::format("no shape of rows has '{}'", one_line(name, 40)),
                       near.empty() ? fmt::format("give one of {}", fmt::join(kNames, ", "))
                                    : fmt::format("did you mean {}={}?", near, field.substr(equals + 1)));
  }
}

}  // namespace

std::string recipe_key(const RecipeField& field) {
  std::string key(field.name);
  std::replace(key.begin(), key.end(), '-', '_');
  return key;
}

std::string field_range(const RecipeField& field) {
  if (field.kind == FieldKind::size) return "";
  const auto bound = [&](double value) {
    return field.kind == FieldKind::integer ? format_thousands(static_cast<int64_t>(value)) : number_text(value);
  };
  const bool has_min = std::isfinite(field.min), has_max = std::isfinite(field.max) && field.max < 1e5;
  if (has_min && has_max)
    return fmt::format("{} to {}{}", bound(field.min), field.below_max ? "below " : "", bound(field.max));
  if (has_min) return bound(field.min) + " or more";
  return "";
}

std::string field_text(const RecipeField& field, const FieldValue& value) {
  if (const bool* on = std::get_if<bool>(&value)) return *on ? "on" : "off";
  if (const int64_t* whole = std::get_if<int64_t>(&value)) {
    if (field.kind != FieldKind::size) return fmt::format("{}", *whole);
    if (*whole > 0 && *whole % kGiB == 0) return fmt::format("{}GiB", *whole / kGiB);
    if (*whole > 0 && *whole % kMiB == 0) return fmt::format("{}MiB", *whole / kMiB);
    return fmt::format("{}", *whole);
  }
  if (const double* number = std::get_if<double>(&value)) return number_text(*number);
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  if (const auto* texts = std::get_if<std::vector<std::string>>(&value))
    return fmt::format("{}", fmt::join(*texts, " "));
  if (const auto* numbers = std::get_if<std::vector<double>>(&value))
    return fmt::format("{}", fmt::join(*numbers, ","));
  return "";
}

void check_field_value(const RecipeField& field, const FieldValue& value, std::string_view thing) {
  if (const auto* text = std::get_if<std::string>(&value)) {
    if (!field.words.empty()) check_word(field, *text, thing);
    else check_text(*text, thing);
  }
  if (const auto* texts = std::get_if<std::vector<std::string>>(&value))
    for (const std::string& text : *texts) check_text(text, thing);
  if (const int64_t* whole = std::get_if<int64_t>(&value))
    check_number(field, static_cast<double>(*whole), fmt::format("{}", *whole), thing);
  if (const double* number = std::get_if<double>(&value)) check_number(field, *number, number_text(*number), thing);
  if (const auto* numbers = std::get_if<std::vector<double>>(&value))
    for (const double number : *numbers) check_number(field, number, number_text(number), thing);
}

void apply_recipe_flags(Recipe& recipe, std::span<const RecipeFlag> flags) {
  for (const RecipeFlag& flag : flags) {
    const RecipeField* const field = flag.first;
    const std::vector<std::string>& texts = flag.second;
    const std::string thing = fmt::format("--{}", field->name);
    const FieldValue value = parse_field(*field, texts, thing);
    check_field_value(*field, value, thing);
    if (!field->instead_of.empty()) {
      const bool both_typed = std::any_of(
          flags.begin(), flags.end(), [&](const RecipeFlag& other) { return other.first->name == field->instead_of; });
      if (!both_typed) find_recipe_field(field->instead_of)->set(recipe, FieldValue());
    }
    field->set(recipe, value);
  }
}

void validate_recipe(const Recipe& recipe) {
  for (const RecipeField& field : recipe_fields()) check_field_value(field, field.get(recipe), recipe_key(field));
  if (recipe.steps && recipe.epochs)
    throw caller_error("steps", fmt::format("{} given together with epochs {}", *recipe.steps, *recipe.epochs),
                       "give one of the two");
  if (recipe.epochs && *recipe.epochs == 0)
    throw caller_error("epochs", "0 trains nothing", "give more than 0, such as 0.5 or 3");
  if (recipe.micro_batch && recipe.global_batch && *recipe.global_batch % *recipe.micro_batch != 0)
    throw caller_error("global-batch",
                       fmt::format("{} is not a multiple of micro-batch {}", *recipe.global_batch, *recipe.micro_batch),
                       fmt::format("give --global-batch {}, or --micro-batch auto",
                                   (*recipe.global_batch / *recipe.micro_batch + 1) * *recipe.micro_batch));
  if (!trains_adapter(recipe.method) && !recipe.adapter.empty())
    throw caller_error("adapter",
                       fmt::format("'{}' given with a method that trains no adapter", one_line(recipe.adapter, 80)),
                       "give --method lora, or merge the adapter into the model first (plimsoll merge)");
  if (recipe.method == Method::qlora && recipe.quant == quant_word::kNone)
    throw caller_error("quant", "none given with method qlora, which holds the base in few bits",
                       "give --method lora, or a type such as --quant nf4");
  if (recipe.method != Method::qlora && recipe.quant != quant_word::kAuto && recipe.quant != quant_word::kNone)
    throw caller_error("quant", fmt::format("{} given, but only method qlora holds the base in few bits", recipe.quant),
                       "give --method qlora, or leave --quant out");
  check_adapter_fields(recipe);
  if (recipe.momentum != 0 && recipe.optimizer != OptimizerKind::sgd)
    throw caller_error("momentum", fmt::format("{} has no meaning for this optimizer", recipe.momentum),
                       "give --optimizer sgd, or --momentum 0 (the others take --betas)");
  const bool adafactor = recipe.optimizer == OptimizerKind::adafactor;
  if (recipe.optimizer_state != DType::f32 && recipe.optimizer != OptimizerKind::adamw &&
      recipe.optimizer != OptimizerKind::adam)
    throw caller_error("optimizer-state", "bf16 has no meaning for this optimizer",
                       "give --optimizer adamw or adam, or --optimizer-state fp32");
  const int64_t global = recipe.global_batch.value_or(recipe.micro_batch.value_or(0));
  if (recipe.optimizer_in_backward && recipe.micro_batch && global != *recipe.micro_batch)
    throw caller_error(
        "optimizer-in-backward",
        fmt::format("on with {} rows a step in micro-batches of {}: gradients would have to be kept until "
                    "the last of them",
                    global, *recipe.micro_batch),
        fmt::format("give --micro-batch {} (with --recompute auto), a smaller --global-batch, or "
                    "--optimizer-in-backward off",
                    global));
  if (recipe.lora_dropout > 0 && recipe.method != Method::lora && recipe.method != Method::qlora)
    throw caller_error("lora-dropout", fmt::format("{} is for methods lora and qlora only", recipe.lora_dropout),
                       "give --lora-dropout 0, or --method lora");
  if (recipe.lora_plus_ratio != 1 && !trains_adapter(recipe.method))
    throw caller_error("lora-plus-ratio", fmt::format("{} is for adapters only", recipe.lora_plus_ratio),
                       "give --lora-plus-ratio 1, or --method lora");
  if (!recipe.master_weights && (recipe.precision != DType::bf16 || recipe.method != Method::full))
    throw caller_error("master-weights", "off is for all weights in bf16 only",
                       "give --method full --precision bf16, or --master-weights on");
  if ((recipe.relative_step || recipe.scale_parameter) && !adafactor)
    throw caller_error(recipe.relative_step ? "relative-step" : "scale-parameter", "on is for adafactor only",
                       "give --optimizer adafactor");
  if (recipe.relative_step && (recipe.lr_schedule != LrScheduleKind::constant || recipe.warmup_steps > 0))
    throw caller_error("relative-step", "on has a schedule of its own",
                       "leave --lr-schedule and --warmup-steps out, or give --relative-step off");
  if (recipe.eval_every > 0 && recipe.eval_data.empty())
    throw caller_error("eval-every", fmt::format("{} given, but there is nothing to evaluate on", recipe.eval_every),
                       "give --eval-data FILE, or --eval-every 0");
  check_targets(recipe.targets);
  check_fields(recipe.field);
}

}  // namespace plimsoll
