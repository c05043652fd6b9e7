#include "data/jinja/scope.h"

#include <array>

#include "data/jinja/methods.h"

namespace plimsoll::jinja {
namespace {

Value make_range(Arguments& a) {
  const Parameters p("range", a, {"start", "stop", "step"});
  p.required(0);
  for (size_t i = 0; i < 3; ++i) require_defined(p.or_none(i));
  const bool one = !p.has(1);
  return Value::range(one ? 0 : p.integer(0, 0), one ? p.integer(0, 0) : p.integer(1, 0), p.integer(2, 1));
}

// dict(mapping or pairs, name=value, …)
Value make_dict(Arguments& a) {
  std::vector<std::pair<Value, Value>> entries;
  if (a.positional.size() > 1)
    throw Failure("dict expected at most 1 argument, got " + std::to_string(a.positional.size()));
  if (!a.positional.empty()) {
    const Value& source = a.positional[0];
    if (source.is_dict()) {
      entries = source.as_dict().entries;
    } else {
      auto next = iterate(source);
      for (Value pair; next(pair);) {
        const std::vector<Value> parts = to_vector(pair);
        if (parts.size() != 2)
          throw Failure("dictionary update sequence element has length " + std::to_string(parts.size()) +
                        "; 2 is required");
        entries.emplace_back(parts[0], parts[1]);
      }
    }
  }
  for (const auto& [name, value] : a.named) entries.emplace_back(Value::string(name), value);
  return Value::dict(std::move(entries));
}

Value make_namespace(Arguments& a) {
  auto* object = new NamespaceObject();
  Value result = Value::object(Kind::name_space, object);
  const Value dict = make_dict(a);
  for (const auto& [name, value] : dict.as_dict().entries) {
    const std::string text = to_text(name);
    if (text.starts_with('_')) {
      throw Failure("Chat templates cannot store underscore-prefixed attributes on a namespace, but got '" + text +
                    "'. Please rename the attribute.");
    }
    object->set(text, value);
  }
  return result;
}

Value make_joiner(Arguments& a) {
  const Parameters p("joiner", a, {"sep"});
  const std::string separator = p.text(0, ", ");
  return make_callable("joiner", [separator, used = false](Arguments&) mutable {
    return Value::string(std::exchange(used, true) ? separator : std::string());
  });
}

Value make_cycler(Arguments& a) {
  if (!a.named.empty() || a.positional.empty()) throw Failure("at least one item has to be provided");
  const Value items = Value::tuple(a.positional);
  const auto at = std::make_shared<size_t>(0);
  Value cycler = make_callable(
      "cycler", [](Arguments&) -> Value { throw Failure("'Cycler' object is not callable"); }, "Cycler", items.depth());
  static_cast<CallableObject*>(cycler.object())->attribute = [items,
                                                              at](std::string_view name) -> std::optional<Value> {
    if (name == "current") return items.items()[*at];
    if (name == "next") {
      return make_callable(
          "next",
          [items, at](Arguments&) {
            const Value current = items.items()[*at];
            *at = (*at + 1) % items.items().size();
            return current;
          },
          "method", items.depth());
    }
    if (name == "reset") {
      return make_callable("reset", [at](Arguments&) {
        *at = 0;
        return Value();
      });
    }
    return std::nullopt;
  };
  return cycler;
}

Value raise_exception(Arguments& a) {
  const Parameters p("raise_exception", a, {"message"});
  throw RaisedFailure(to_text(p.required(0)));
}

std::string format_time(const std::string& format, const std::tm& now) {
  if (format.size() > 1000) throw Failure("the format of strftime_now is too long");
  std::string known;  // a local time without a zone: as Python's datetime, microseconds 0
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 >= format.size()) {
      known += format[i];
    } else if (const char c = format[++i]; c == 'f') {
      known += "000000";
    } else if (c != 'z' && c != 'Z') {
      known += '%';
      known += c;
    }
  }
  std::array<char, 1 << 14> buffer;
  const size_t size = std::strftime(buffer.data(), buffer.size(), (" " + known).c_str(), &now);
  if (size == 0) throw Failure("the format of strftime_now gives too long a text");
  return std::string(buffer.data() + 1, size - 1);
}

}  // namespace

void Scope::set(std::string_view name, Value value) {
  for (auto& [key, old] : variables) {
    if (key == name) {
      old = std::move(value);
      return;
    }
  }
  variables.emplace_back(std::string(name), std::move(value));
}

const Value* Scope::find(std::string_view name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent.get()) {
    for (const auto& [key, value] : scope->variables) {
      if (key == name) return &value;
    }
  }
  return nullptr;
}

std::shared_ptr<Scope> make_globals(const std::tm& now, std::function<void(const Value&)> on_namespace) {
  auto scope = std::make_shared<Scope>(nullptr);
  const auto add = [&](const char* name, std::function<Value(Arguments&)> call) {
    scope->variables.emplace_back(name, make_callable(name, std::move(call)));
  };
  add("range", make_range);
  add("dict", make_dict);
  add("namespace", [on_namespace = std::move(on_namespace)](Arguments& a) {
    Value value = make_namespace(a);
    on_namespace(value);
    return value;
  });
  add("joiner", make_joiner);
  add("cycler", make_cycler);
  add("raise_exception", raise_exception);
  add("strftime_now", [now](Arguments& a) {
    const Parameters p("strftime_now", a, {"format"});
    p.required(0);
    return Value::string(format_time(p.text(0, {}), now));
  });
  return scope;
}

}  // namespace plimsoll::jinja
