#include "data/jinja/loop.h"

namespace plimsoll::jinja {

LoopObject::LoopObject(std::function<bool(Value&)> n, int depth_of_items, Int known_length, Int depth_of_loop)
    : Object(256, depth_of_items + 1), next_(std::move(n)), length_(known_length), depth0_(depth_of_loop) {}

bool LoopObject::peek() {
  if (!ahead_.empty()) return true;
  Value item;
  if (drained_ || !next_(item)) {
    drained_ = true;
    return false;
  }
  ahead_.push_back(std::move(item));
  return true;
}

bool LoopObject::advance() {
  if (!peek()) return false;
  before_ = std::move(current);
  current = std::move(ahead_.front());
  ahead_.pop_front();
  ++index0_;
  return true;
}

Int LoopObject::length() {
  if (length_ < 0) {
    Value item;
    while (!drained_ && next_(item)) ahead_.push_back(item);
    drained_ = true;
    length_ = index0_ + 1 + static_cast<Int>(ahead_.size());
  }
  return length_;
}

std::optional<Value> LoopObject::attribute(const Value& self, std::string_view name) {
  if (name == "index") return Value::integer(index0_ + 1);
  if (name == "index0") return Value::integer(index0_);
  if (name == "first") return Value::boolean(index0_ == 0);
  if (name == "last") return Value::boolean(!peek());
  if (name == "length") return Value::integer(length());
  if (name == "revindex") return Value::integer(length() - index0_);
  if (name == "revindex0") return Value::integer(length() - index0_ - 1);
  if (name == "depth") return Value::integer(depth0_ + 1);
  if (name == "depth0") return Value::integer(depth0_);
  if (name == "previtem") return index0_ == 0 ? Value::undefined("there is no previous item") : before_;
  if (name == "nextitem") return peek() ? ahead_.front() : Value::undefined("there is no next item");
  // The methods below hold `self`, so that they outlive the loop; nothing in the loop holds them.
  if (name == "cycle") {
    return make_callable(
        "cycle",
        [self](Arguments& a) {
          if (a.positional.empty()) throw Failure("no items for cycling given");
          const auto& loop = *static_cast<LoopObject*>(self.object());
          return a.positional[static_cast<size_t>(loop.index0_ % static_cast<Int>(a.positional.size()))];
        },
        "method", self.depth());
  }
  if (name == "changed") {
    return make_callable(
        "changed",
        [self](Arguments& a) {
          auto& loop = *static_cast<LoopObject*>(self.object());
          // As text, so that a loop never holds a value that holds the loop.
          Value now = Value::string(to_repr(Value::tuple(a.positional)));
          if (loop.last_changed_ && equal(*loop.last_changed_, now)) return Value::boolean(false);
          loop.last_changed_ = std::move(now);
          return Value::boolean(true);
        },
        "method", self.depth());
  }
  return std::nullopt;
}

}  // namespace plimsoll::jinja
