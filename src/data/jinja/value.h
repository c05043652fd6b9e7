// Values of the template language: what Python objects are to Jinja. 16 bytes, shared by reference count; lists, dicts
// and strings never change once made (the sandbox of chat templates forbids it), only namespaces do.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "data/jinja/meter.h"

namespace plimsoll::jinja {

using Int = __int128;  // Python's are unbounded; ours fail on overflow of 128 bits

enum class Kind : uint8_t {
  none,
  undefined,
  boolean,
  integer,
  real,
  string,
  list,
  tuple,
  range,
  view,  // all ListObject
  dict,
  generator,
  name_space,
  callable,
  loop,
};

class Value;

// What a value of more than 8 bytes points to. `depth` counts containers inside each other and is bounded, so that
// recursion over values (and their destruction) is too.
struct Object {
  Object(int64_t bytes, int depth);
  virtual ~Object();
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  std::atomic<int32_t> references{0};
  int32_t depth;
  int64_t bytes;  // as counted by the meter
};

struct StringObject;
struct ListObject;
struct DictObject;
struct GeneratorObject;
struct NamespaceObject;
struct CallableObject;

class Value {
 public:
  Value() = default;  // none
  Value(const Value& other) : kind_(other.kind_), boxed_(other.boxed_), data_(other.data_) { retain(); }
  Value(Value&& other) noexcept : kind_(other.kind_), boxed_(other.boxed_), data_(other.data_) { other.boxed_ = false; }
  Value& operator=(Value other) noexcept {
    std::swap(kind_, other.kind_);
    std::swap(boxed_, other.boxed_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~Value() { release(); }

  static Value boolean(bool value);
  static Value integer(Int value);
  static Value real(double value);
  static Value string(std::string text, bool markup = false);
  static Value list(std::vector<Value> items);
  static Value tuple(std::vector<Value> items, bool group = false);
  static Value view(std::vector<Value> items, const char* type_name);
  static Value range(Int start, Int stop, Int step);
  static Value dict(std::vector<std::pair<Value, Value>> entries);  // later keys win, as in Python
  // `message` is what is raised when the value is used.
  static Value undefined(std::string message = {});
  static Value object(Kind kind, Object* object);  // takes a new object

  Kind kind() const { return kind_; }
  bool is_none() const { return kind_ == Kind::none; }
  bool is_undefined() const { return kind_ == Kind::undefined; }
  bool is_string() const { return kind_ == Kind::string; }
  bool is_dict() const { return kind_ == Kind::dict; }
  bool is_list() const { return kind_ == Kind::list; }
  bool is_sequence() const { return kind_ >= Kind::list && kind_ <= Kind::view; }       // a ListObject
  bool is_integer() const { return kind_ == Kind::integer || kind_ == Kind::boolean; }  // as Python, where bool is int
  bool is_number() const { return is_integer() || kind_ == Kind::real; }

  bool as_boolean() const { return data_.integer != 0; }
  Int as_integer() const;           // of integer, boolean
  double as_real() const;           // of any number
  const std::string& text() const;  // of string
  bool is_markup() const;
  const ListObject& as_list() const;
  const std::vector<Value>& items() const;  // of list, tuple, range, view
  const DictObject& as_dict() const;
  NamespaceObject& as_namespace() const;
  GeneratorObject& as_generator() const;
  const CallableObject& as_callable() const;
  Object* object() const { return boxed_ ? data_.object : nullptr; }
  int depth() const { return boxed_ ? data_.object->depth : 0; }

 private:
  union Data {
    int64_t integer;
    double real;
    Object* object;
  };

  void retain() const {
    if (boxed_) data_.object->references.fetch_add(1, std::memory_order_relaxed);
  }
  void release() noexcept {
    if (boxed_ && data_.object->references.fetch_sub(1, std::memory_order_acq_rel) == 1) delete data_.object;
  }

  Kind kind_ = Kind::none;
  bool boxed_ = false;
  Data data_{};
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

struct BigObject final : Object {
  explicit BigObject(Int v) : Object(48, 0), value(v) {}
  Int value;
};

struct StringObject final : Object {
  StringObject(std::string t, bool m);
  std::string text;
  bool markup;  // made by `safe` or `escape`: `+` escapes what is joined to it
  bool ascii;
};

struct ListObject final : Object {
  ListObject(std::vector<Value> i, int depth_of_items, const char* type);
  std::vector<Value> items;
  const char* type_name;
  Int start = 0, stop = 0, step = 1;  // of a range
  bool group = false;                 // a pair of the filter groupby: .grouper, .list
};

struct DictObject final : Object {
  DictObject(std::vector<std::pair<Value, Value>> e, int depth_of_items);
  const Value* find(const Value& key) const;  // nullptr: absent. An unhashable key is a Failure
  const Value* find(std::string_view key) const;
  std::vector<std::pair<Value, Value>> entries;  // in order of insertion

 private:
  std::unordered_multimap<size_t, uint32_t> index_;  // hash → entry, for dicts of more than a few
};

// An iterator that can be walked once, as the filters map, select, … give it.
struct GeneratorObject final : Object {
  GeneratorObject(int depth_of_source, std::function<bool(Value&)> n);
  std::function<bool(Value&)> next;  // false: exhausted
};

struct UndefinedObject final : Object {
  explicit UndefinedObject(std::string m) : Object(64 + static_cast<int64_t>(m.size()), 0), message(std::move(m)) {}
  std::string message;
};

struct NamespaceObject final : Object {
  NamespaceObject() : Object(128, 0) {}
  const Value* find(std::string_view name) const;
  void set(std::string_view name, Value value);
  std::vector<std::pair<std::string, Value>> entries;
};

struct CallableObject final : Object {
  CallableObject(std::string n, const char* type, int depth_of_captured, std::function<Value(Arguments&)> c);
  std::string name;
  const char* type_name;
  std::function<Value(Arguments&)> call;
  std::function<std::optional<Value>(std::string_view)> attribute;  // may be empty
};

Value make_callable(std::string name, std::function<Value(Arguments&)> call, const char* type_name = "function",
                    int depth_of_captured = 0);
Value make_generator(int depth_of_source, std::function<bool(Value&)> next);

// --- Python's view of values ----------------------------------------------------------------------------------------

std::string type_name(const Value& value);          // "str", "NoneType"
std::string undefined_message(const Value& value);  // of an undefined value
std::string describe(const Value& value);           // "dict object", as Jinja's messages say it
bool is_true(const Value& value);
bool equal(const Value& a, const Value& b);
bool less(const Value& a, const Value& b);  // Failure for kinds without an order; `op` is "<"
std::string to_text(const Value& value);    // str(value)
std::string to_repr(const Value& value);    // repr(value)
std::string integer_text(Int value);
std::string real_text(double value);  // repr of a float
Int length_of(const Value& value);    // len(value)
bool is_iterable(const Value& value);

// Calls next repeatedly; Failure when the value cannot be iterated.
std::function<bool(Value&)> iterate(const Value& value);
std::vector<Value> to_vector(const Value& value);

[[noreturn]] void fail_undefined(const Value& value);  // throws when an undefined value is used
// Throws when the value is undefined, else does nothing.
inline void require_defined(const Value& value) {
  if (value.is_undefined()) fail_undefined(value);
}

}  // namespace plimsoll::jinja
