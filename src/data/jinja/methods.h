// Methods of str, list, tuple, dict, int and float that a template may call; and how calls match their arguments.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "data/jinja/value.h"

namespace plimsoll::jinja {

// The method bound to `object`; nullopt when its type has none of that name.
std::optional<Value> find_method(const Value& object, std::string_view name);
// The same without binding first. Returns nullopt when there is no such method.
std::optional<Value> call_method(const Value& object, std::string_view name, Arguments& arguments);

// Arguments matched to parameter names, as Python does. All are optional here; `required` checks. Failure for too many
// or unknown ones.
class Parameters {
 public:
  Parameters(std::string_view function, const Arguments& arguments, std::initializer_list<std::string_view> names);

  bool has(size_t i) const { return values_[i] != nullptr; }
  bool given(size_t i) const { return has(i) && !values_[i]->is_none(); }  // and not none
  const Value& required(size_t i) const;
  const Value& or_none(size_t i) const;
  Int integer(size_t i, Int otherwise) const;
  bool boolean(size_t i, bool otherwise) const;
  std::string text(size_t i, std::string otherwise) const;  // of a string; Failure for others

 private:
  std::string function_;
  std::vector<std::string_view> names_;
  std::vector<const Value*> values_;
};

size_t find_text(std::string_view text, std::string_view part, size_t from);  // npos; linear time
std::string replace_text(const std::string& text, const std::string& from, const std::string& to, Int count);
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends = false);
// A string under construction, refused above the limit.
void append_checked(std::string& out, std::string_view part);

}  // namespace plimsoll::jinja
