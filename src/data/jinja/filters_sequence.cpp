// Filters on lists, dicts and iterators. Those that Jinja writes as generators are lazy here too: they can be walked
// once, are always true and have no length.
#include <algorithm>
#include <memory>

#include "data/jinja/filters.h"
#include "data/jinja/methods.h"
#include "data/jinja/operators.h"
#include "data/jinja/unicode.h"

namespace plimsoll::jinja {
namespace {

// Reads "a.b.0" or 3 from an item, as the parameter `attribute` of many filters does.
class AttributePath {
 public:
  explicit AttributePath(const Value& attribute, const Value* otherwise = nullptr) {
    if (otherwise != nullptr) default_ = *otherwise;
    if (!attribute.is_string()) {
      if (!attribute.is_none()) parts_.push_back(attribute);
      return;
    }
    const std::string& text = attribute.text();
    for (size_t at = 0; at <= text.size();) {
      const size_t end = std::min(text.find('.', at), text.size());
      const std::string part = text.substr(at, end - at);
      const bool number =
          !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == std::string::npos;
      parts_.push_back(number ? Value::integer(std::stoi(part)) : Value::string(part));
      at = end + 1;
    }
  }

  Value operator()(const Value& item) const {
    Value value = item;
    for (const Value& part : parts_) {
      value = get_item(value, part);
      if (value.is_undefined() && default_) return *default_;
    }
    return value;
  }

 private:
  std::vector<Value> parts_;
  std::optional<Value> default_;
};

Value fold_case(const Value& value, bool case_sensitive) {
  return value.is_string() && !case_sensitive ? Value::string(to_lower(value.text())) : value;
}

// What a generator made of these may come to hold.
int depth_of(const Value& input, const Arguments& a) {
  int depth = input.depth();
  for (const Value& value : a.positional) depth = std::max(depth, value.depth());
  for (const auto& [name, value] : a.named) depth = std::max(depth, value.depth());
  return depth + 1;
}

struct Keyed {
  Value key, item;
};

// A stable merge sort of our own: the order may be inconsistent (nan) or throw, which std::sort does not allow.
void sort_keyed(std::vector<Keyed>& items, bool reverse) {
  work(static_cast<int64_t>(items.size()) * 4);
  std::vector<Keyed> merged(items.size());
  const auto before = [&](const Keyed& a, const Keyed& b) { return reverse ? less(b.key, a.key) : less(a.key, b.key); };
  for (size_t width = 1; width < items.size(); width *= 2) {
    for (size_t start = 0; start < items.size(); start += 2 * width) {
      const size_t middle = std::min(start + width, items.size()), end = std::min(start + 2 * width, items.size());
      size_t left = start, right = middle;
      for (size_t out = start; out < end; ++out) {
        const bool take_right = left == middle || (right < end && before(items[right], items[left]));
        merged[out] = std::move(items[take_right ? right++ : left++]);
      }
    }
    items.swap(merged);
  }
}

std::vector<Keyed> with_keys(const Value& input, const AttributePath& path, bool case_sensitive) {
  std::vector<Keyed> out;
  for (const Value& item : to_vector(input)) out.push_back({fold_case(path(item), case_sensitive), item});
  return out;
}

std::vector<Value> items_of(const std::vector<Keyed>& keyed) {
  std::vector<Value> out;
  for (const Keyed& k : keyed) out.push_back(k.item);
  return out;
}

Value sort(const Value& input, Arguments& a) {
  const Parameters p("sort", a, {"reverse", "case_sensitive", "attribute"});
  const bool case_sensitive = p.boolean(1, false);
  std::vector<Keyed> items;
  if (p.given(2) && p.or_none(2).is_string() && p.or_none(2).text().find(',') != std::string::npos) {
    std::vector<AttributePath> paths;
    Arguments comma;
    comma.positional.push_back(Value::string(","));
    const Value parts = *call_method(p.or_none(2), "split", comma);
    for (const Value& part : parts.items()) paths.emplace_back(part);
    for (const Value& item : to_vector(input)) {
      std::vector<Value> keys;
      for (const AttributePath& path : paths) keys.push_back(fold_case(path(item), case_sensitive));
      items.push_back({Value::tuple(std::move(keys)), item});
    }
  } else {
    items = with_keys(input, AttributePath(p.or_none(2)), case_sensitive);
  }
  sort_keyed(items, p.boolean(0, false));
  return Value::list(items_of(items));
}

Value dict_sort(const Value& input, Arguments& a) {
  const Parameters p("dictsort", a, {"case_sensitive", "by", "reverse"});
  const std::string by = p.text(1, "key");
  if (by != "key" && by != "value") throw Failure("You can only sort by either \"key\" or \"value\"");
  require_defined(input);
  if (!input.is_dict()) throw Failure("'" + describe(input) + "' has no attribute 'items'");
  std::vector<Keyed> items;
  for (const auto& [key, value] : input.as_dict().entries) {
    items.push_back({fold_case(by == "key" ? key : value, p.boolean(0, false)), Value::tuple({key, value})});
  }
  sort_keyed(items, p.boolean(2, false));
  return Value::list(items_of(items));
}

Value group_by(const Value& input, Arguments& a) {
  const Parameters p("groupby", a, {"attribute", "default", "case_sensitive"});
  const bool case_sensitive = p.boolean(2, false);
  const AttributePath path(p.required(0), p.given(1) ? &p.or_none(1) : nullptr);
  std::vector<Keyed> items = with_keys(input, path, case_sensitive);
  sort_keyed(items, false);
  std::vector<Value> groups;
  for (size_t start = 0; start < items.size();) {
    size_t end = start;
    std::vector<Value> members;
    while (end < items.size() && equal(items[end].key, items[start].key)) members.push_back(items[end++].item);
    groups.push_back(Value::tuple({path(items[start].item), Value::list(std::move(members))}, true));
    start = end;
  }
  return Value::list(std::move(groups));
}

Value unique(const Value& input, Arguments& a) {
  const Parameters p("unique", a, {"case_sensitive", "attribute"});
  auto next = std::make_shared<std::function<bool(Value&)>>(iterate(input));
  auto seen = std::make_shared<std::vector<Value>>();
  return make_generator(depth_of(input, a), [next, seen, path = AttributePath(p.or_none(1)),
                                             sensitive = p.boolean(0, false)](Value& out) {
    while ((*next)(out)) {
      const Value key = fold_case(path(out), sensitive);
      if (std::any_of(seen->begin(), seen->end(), [&](const Value& s) { return work(1), equal(s, key); })) continue;
      seen->push_back(key);
      return true;
    }
    return false;
  });
}

template <bool kMax>
Value extreme(const Value& input, Arguments& a) {
  const Parameters p(kMax ? "max" : "min", a, {"case_sensitive", "attribute"});
  std::vector<Keyed> items = with_keys(input, AttributePath(p.or_none(1)), p.boolean(0, false));
  if (items.empty()) return Value::undefined("No aggregated item, sequence was empty.");
  size_t best = 0;
  for (size_t i = 1; i < items.size(); ++i) {
    if (kMax ? less(items[best].key, items[i].key) : less(items[i].key, items[best].key)) best = i;
  }
  return items[best].item;
}

Value sum(const Value& input, Arguments& a) {
  const Parameters p("sum", a, {"attribute", "start"});
  Value total = p.has(1) ? p.or_none(1) : Value::integer(0);
  const AttributePath path(p.or_none(0));
  auto next = iterate(input);
  for (Value item; next(item);) total = apply_binary("+", total, path(item));
  return total;
}

Value join(const Value& input, Arguments& a) {
  const Parameters p("join", a, {"d", "attribute"});
  const std::string separator = p.has(0) ? to_text(p.or_none(0)) : "";
  const AttributePath path(p.or_none(1));
  std::string out;
  bool first = true;
  auto next = iterate(input);
  for (Value item; next(item); first = false) {
    if (!first) append_checked(out, separator);
    append_checked(out, to_text(path(item)));
  }
  return Value::string(std::move(out));
}

Value length(const Value& input, Arguments& a) {
  const Parameters p("length", a, {});
  return Value::integer(length_of(input));
}

Value first(const Value& input, Arguments& a) {
  const Parameters p("first", a, {});
  Value item;
  return iterate(input)(item) ? item : Value::undefined("No first item, sequence was empty.");
}

bool is_reversible(const Value& value) {
  return value.is_sequence() || value.is_string() || value.is_dict() || value.is_undefined();
}

Value last(const Value& input, Arguments& a) {
  const Parameters p("last", a, {});
  if (!is_reversible(input)) throw Failure("'" + type_name(input) + "' object is not reversible");
  if (input.is_sequence() && !input.items().empty()) return input.items().back();
  const std::vector<Value> items = to_vector(input);
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value reverse(const Value& input, Arguments& a) {
  const Parameters p("reverse", a, {});
  if (input.is_string()) return get_slice(input, Value(), Value(), Value::integer(-1));
  auto items = std::make_shared<std::vector<Value>>(to_vector(input));
  std::reverse(items->begin(), items->end());
  if (!is_reversible(input)) return Value::list(std::move(*items));
  return make_generator(depth_of(input, a), [items, at = size_t{0}](Value& out) mutable {
    if (at >= items->size()) return false;
    out = (*items)[at++];
    return true;
  });
}

Value list(const Value& input, Arguments& a) {
  const Parameters p("list", a, {});
  return Value::list(to_vector(input));
}

Value items(const Value& input, Arguments& a) {
  const Parameters p("items", a, {});
  if (!input.is_dict() && !input.is_undefined()) throw Failure("Can only get item pairs from a mapping.");
  return make_generator(depth_of(input, a), [input, at = size_t{0}](Value& out) mutable {
    if (input.is_undefined() || at >= input.as_dict().entries.size()) return false;
    const auto& [key, value] = input.as_dict().entries[at++];
    out = Value::tuple({key, value});
    return true;
  });
}

Value attribute(const Value& input, Arguments& a) {
  const Parameters p("attr", a, {"name"});
  const std::string name = to_text(p.required(0));
  if (std::optional<Value> value = find_attribute(input, name)) return *value;
  return Value::undefined("'" + describe(input) + "' has no attribute '" + name + "'");
}

Value batch(const Value& input, Arguments& a) {
  const Parameters p("batch", a, {"linecount", "fill_with"});
  p.required(0);
  const Int count = p.integer(0, 1);
  if (count > 1'000'000) throw Failure("a batch is too long");
  auto next = std::make_shared<std::function<bool(Value&)>>(iterate(input));
  const Value fill = p.or_none(1);
  return make_generator(depth_of(input, a), [next, count, fill](Value& out) {
    std::vector<Value> line;
    for (Value item; static_cast<Int>(line.size()) < std::max<Int>(count, 1) && (*next)(item);) line.push_back(item);
    if (line.empty()) return false;
    while (!fill.is_none() && static_cast<Int>(line.size()) < count) line.push_back(fill);
    out = Value::list(std::move(line));
    return true;
  });
}

Value slice(const Value& input, Arguments& a) {
  const Parameters p("slice", a, {"slices", "fill_with"});
  p.required(0);
  const Int slices = p.integer(0, 1);
  if (slices <= 0) throw Failure("integer division or modulo by zero");
  if (slices > 100'000) throw Failure("too many slices");
  const std::vector<Value> all = to_vector(input);
  const auto size = static_cast<Int>(all.size());
  std::vector<Value> out;
  auto at = all.begin();
  for (Int i = 0; i < slices; ++i) {
    const auto take = static_cast<ptrdiff_t>(size / slices + (i < size % slices ? 1 : 0));
    std::vector<Value> part(at, at + take);
    at += take;
    if (p.given(1) && i >= size % slices) part.push_back(p.or_none(1));
    out.push_back(Value::list(std::move(part)));
  }
  auto shared = std::make_shared<std::vector<Value>>(std::move(out));
  return make_generator(depth_of(input, a), [shared, i = size_t{0}](Value& item) mutable {
    if (i >= shared->size()) return false;
    item = (*shared)[i++];
    return true;
  });
}

Value map(const Value& input, Arguments& a) {
  auto next = std::make_shared<std::function<bool(Value&)>>(iterate(input));
  if (a.positional.empty()) {
    const Parameters p("map", a, {"attribute", "default"});
    const AttributePath path(p.required(0), p.has(1) ? &p.or_none(1) : nullptr);
    return make_generator(depth_of(input, a), [next, path](Value& out) {
      Value item;
      if (!(*next)(item)) return false;
      out = path(item);
      return true;
    });
  }
  const std::string name = to_text(a.positional[0]);
  if (!is_filter(name)) throw Failure("No filter named '" + name + "'.");
  auto rest = std::make_shared<Arguments>(a);
  rest->positional.erase(rest->positional.begin());
  return make_generator(depth_of(input, a), [next, name, rest](Value& out) {
    Value item;
    if (!(*next)(item)) return false;
    out = apply_filter(name, item, *rest);
    return true;
  });
}

template <bool kAttribute, bool kWanted>
Value select(const Value& input, Arguments& a) {
  auto next = std::make_shared<std::function<bool(Value&)>>(iterate(input));
  auto rest = std::make_shared<Arguments>(a);
  std::shared_ptr<AttributePath> path;
  if (kAttribute) {
    if (rest->positional.empty()) throw Failure("Missing parameter for attribute name");
    path = std::make_shared<AttributePath>(rest->positional[0]);
    rest->positional.erase(rest->positional.begin());
  }
  std::string test;
  if (!rest->positional.empty()) {
    test = to_text(rest->positional[0]);
    if (!is_test(test)) throw Failure("No test named '" + test + "'.");
    rest->positional.erase(rest->positional.begin());
  }
  return make_generator(depth_of(input, a), [next, rest, path, test](Value& out) {
    for (Value item; (*next)(item);) {
      const Value value = path ? (*path)(item) : item;
      if ((test.empty() ? is_true(value) : apply_test(test, value, *rest)) != kWanted) continue;
      out = std::move(item);
      return true;
    }
    return false;
  });
}

}  // namespace

const std::unordered_map<std::string_view, Filter>& sequence_filters() {
  static const std::unordered_map<std::string_view, Filter> table = {
      {"sort", sort},
      {"dictsort", dict_sort},
      {"groupby", group_by},
      {"unique", unique},
      {"max", extreme<true>},
      {"min", extreme<false>},
      {"sum", sum},
      {"join", join},
      {"length", length},
      {"count", length},
      {"first", first},
      {"last", last},
      {"reverse", reverse},
      {"list", list},
      {"items", items},
      {"attr", attribute},
      {"batch", batch},
      {"slice", slice},
      {"map", map},
      {"select", select<false, true>},
      {"reject", select<false, false>},
      {"selectattr", select<true, true>},
      {"rejectattr", select<true, false>},
  };
  return table;
}

}  // namespace plimsoll::jinja
