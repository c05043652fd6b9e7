#include "data/jinja/value.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "data/jinja/unicode.h"

namespace plimsoll::jinja {
namespace {

int depth_of(const std::vector<Value>& items) {
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  return depth;
}

size_t hash_of(const Value& key) {
  switch (key.kind()) {
    case Kind::none:
      return 1;
    case Kind::boolean:
    case Kind::integer:
    case Kind::real:
      return std::hash<double>()(key.as_real());
    case Kind::string:
      return std::hash<std::string>()(key.text());
    case Kind::tuple: {
      size_t hash = 7;
      for (const Value& item : key.items()) hash = hash * 31 + hash_of(item);
      return hash;
    }
    case Kind::list:
    case Kind::dict:
      throw Failure("unhashable type: '" + type_name(key) + "'");
    case Kind::undefined:
      return 3;
    default:
      return std::hash<const void*>()(key.object());
  }
}

constexpr size_t kSmallDict = 8;

}  // namespace

Object::Object(int64_t b, int d) : depth(d), bytes(b) {
  if (d > kMaxValueDepth) throw Failure("values are nested more than " + std::to_string(kMaxValueDepth) + " deep");
  add_live_bytes(b);
}

Object::~Object() { drop_live_bytes(bytes); }

StringObject::StringObject(std::string t, bool m)
    : Object(96 + static_cast<int64_t>(t.capacity()), 0), text(std::move(t)), markup(m), ascii(is_ascii(text)) {
  work_bytes(text.size());
  if (static_cast<int64_t>(text.size()) > kMaxStringBytes) throw Failure("a string is longer than 64 MiB");
}

ListObject::ListObject(std::vector<Value> i, int depth_of_items, const char* type)
    : Object(128 + static_cast<int64_t>(i.capacity() * sizeof(Value)), depth_of_items + 1),
      items(std::move(i)),
      type_name(type) {
  work(1 + static_cast<int64_t>(items.size() / 4));
}

DictObject::DictObject(std::vector<std::pair<Value, Value>> e, int depth_of_items)
    : Object(128 + static_cast<int64_t>(e.capacity() * sizeof(e[0]) + (e.size() > kSmallDict ? e.size() * 48 : 0)),
             depth_of_items + 1) {
  work(1 + static_cast<int64_t>(e.size()));
  if (e.size() <= kSmallDict) {
    for (auto& entry : e) {
      hash_of(entry.first);  // throws for an unhashable key
      auto same =
          std::find_if(entries.begin(), entries.end(), [&](const auto& x) { return equal(x.first, entry.first); });
      if (same != entries.end()) {
        same->second = std::move(entry.second);
      } else {
        entries.push_back(std::move(entry));
      }
    }
    return;
  }
  entries.reserve(e.size());
  index_.reserve(e.size());
  for (auto& entry : e) {
    const size_t hash = hash_of(entry.first);
    auto [at, end] = index_.equal_range(hash);
    while (at != end && !equal(entries[at->second].first, entry.first)) ++at;
    if (at != end) {
      entries[at->second].second = std::move(entry.second);
    } else {
      index_.emplace(hash, static_cast<uint32_t>(entries.size()));
      entries.push_back(std::move(entry));
    }
  }
}

const Value* DictObject::find(const Value& key) const {
  const size_t hash = hash_of(key);
  if (index_.empty()) {
    for (const auto& entry : entries) {
      if (equal(entry.first, key)) return &entry.second;
    }
    return nullptr;
  }
  for (auto [at, end] = index_.equal_range(hash); at != end; ++at) {
    if (equal(entries[at->second].first, key)) return &entries[at->second].second;
  }
  return nullptr;
}

const Value* DictObject::find(std::string_view key) const {
  if (index_.empty()) {
    for (const auto& entry : entries) {
      if (entry.first.is_string() && entry.first.text() == key) return &entry.second;
    }
    return nullptr;
  }
  return find(Value::string(std::string(key)));
}

GeneratorObject::GeneratorObject(int depth_of_source, std::function<bool(Value&)> n)
    : Object(256, depth_of_source + 1), next(std::move(n)) {}

CallableObject::CallableObject(std::string n, const char* type, int depth_of_captured,
                               std::function<Value(Arguments&)> c)
    : Object(256, depth_of_captured + 1), name(std::move(n)), type_name(type), call(std::move(c)) {}

const Value* NamespaceObject::find(std::string_view name) const {
  for (const auto& [key, value] : entries) {
    if (key == name) return &value;
  }
  return nullptr;
}

void NamespaceObject::set(std::string_view name, Value value) {
  for (auto& [key, old] : entries) {
    if (key == name) {
      old = std::move(value);
      return;
    }
  }
  entries.emplace_back(std::string(name), std::move(value));
}

Value Value::object(Kind kind, Object* object) {
  Value value;
  value.kind_ = kind;
  value.boxed_ = true;
  value.data_.object = object;
  value.retain();
  return value;
}

Value Value::boolean(bool b) {
  Value value;
  value.kind_ = Kind::boolean;
  value.data_.integer = b ? 1 : 0;
  return value;
}

Value Value::integer(Int i) {
  if (i < std::numeric_limits<int64_t>::min() || i > std::numeric_limits<int64_t>::max()) {
    return object(Kind::integer, new BigObject(i));
  }
  Value value;
  value.kind_ = Kind::integer;
  value.data_.integer = static_cast<int64_t>(i);
  return value;
}

Value Value::real(double d) {
  Value value;
  value.kind_ = Kind::real;
  value.data_.real = d;
  return value;
}

Value Value::string(std::string text, bool markup) {
  return object(Kind::string, new StringObject(std::move(text), markup));
}

Value Value::list(std::vector<Value> items) {
  const int depth = depth_of(items);
  return object(Kind::list, new ListObject(std::move(items), depth, "list"));
}

Value Value::tuple(std::vector<Value> items, bool group) {
  const int depth = depth_of(items);
  Value value = object(Kind::tuple, new ListObject(std::move(items), depth, group ? "_GroupTuple" : "tuple"));
  static_cast<ListObject*>(value.data_.object)->group = group;
  return value;
}

Value Value::view(std::vector<Value> items, const char* type) {
  const int depth = depth_of(items);
  return object(Kind::view, new ListObject(std::move(items), depth, type));
}

Value Value::range(Int start, Int stop, Int step) {
  constexpr Int kMaxRange = 100000;  // Jinja's sandbox
  if (step == 0) throw Failure("range() arg 3 must not be zero");
  const Int distance = step > 0 ? stop - start : start - stop;
  const Int stride = step > 0 ? step : -step;
  const Int count = distance <= 0 ? 0 : (distance + stride - 1) / stride;
  if (count > kMaxRange) throw Failure("Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).");
  std::vector<Value> items;
  items.reserve(static_cast<size_t>(count));
  for (Int i = 0; i < count; ++i) items.push_back(integer(start + i * step));
  auto* list = new ListObject(std::move(items), 0, "range");
  list->start = start;
  list->stop = stop;
  list->step = step;
  return object(Kind::range, list);
}

Value Value::dict(std::vector<std::pair<Value, Value>> entries) {
  int depth = 0;
  for (const auto& [key, value] : entries) depth = std::max({depth, key.depth(), value.depth()});
  return object(Kind::dict, new DictObject(std::move(entries), depth));
}

Value Value::undefined(std::string message) { return object(Kind::undefined, new UndefinedObject(std::move(message))); }

Value make_callable(std::string name, std::function<Value(Arguments&)> call, const char* type, int depth_of_captured) {
  return Value::object(Kind::callable, new CallableObject(std::move(name), type, depth_of_captured, std::move(call)));
}

Value make_generator(int depth_of_source, std::function<bool(Value&)> next) {
  return Value::object(Kind::generator, new GeneratorObject(depth_of_source, std::move(next)));
}

Int Value::as_integer() const { return boxed_ ? static_cast<BigObject*>(data_.object)->value : data_.integer; }
double Value::as_real() const { return kind_ == Kind::real ? data_.real : static_cast<double>(as_integer()); }
const std::string& Value::text() const { return static_cast<StringObject*>(data_.object)->text; }
bool Value::is_markup() const { return is_string() && static_cast<StringObject*>(data_.object)->markup; }
const ListObject& Value::as_list() const { return *static_cast<ListObject*>(data_.object); }
const std::vector<Value>& Value::items() const { return as_list().items; }
const DictObject& Value::as_dict() const { return *static_cast<DictObject*>(data_.object); }
NamespaceObject& Value::as_namespace() const { return *static_cast<NamespaceObject*>(data_.object); }
GeneratorObject& Value::as_generator() const { return *static_cast<GeneratorObject*>(data_.object); }
const CallableObject& Value::as_callable() const { return *static_cast<CallableObject*>(data_.object); }

}  // namespace plimsoll::jinja
