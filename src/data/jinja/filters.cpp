#include "data/jinja/filters.h"

namespace plimsoll::jinja {
namespace {

Filter find_filter(std::string_view name) {
  for (const auto* table : {&text_filters(), &sequence_filters()}) {
    if (const auto at = table->find(name); at != table->end()) return at->second;
  }
  return nullptr;
}

}  // namespace

bool is_filter(std::string_view name) { return find_filter(name) != nullptr; }

Value apply_filter(const std::string& name, const Value& input, Arguments& arguments) {
  const Filter filter = find_filter(name);
  if (filter == nullptr) throw Failure("No filter named '" + name + "'.");
  return filter(input, arguments);
}

}  // namespace plimsoll::jinja
