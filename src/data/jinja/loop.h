// The variable `loop` of a for loop. It pulls items as they are needed, as Jinja's does: `loop.last` and
// `loop.nextitem` look one ahead, `loop.length` of an iterator reads it to the end.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <string_view>

#include "data/jinja/value.h"

namespace plimsoll::jinja {

struct LoopObject final : Object {
  // `known_length` < 0: not known before the end. `depth_of_loop` counts recursive loops, from 0.
  LoopObject(std::function<bool(Value&)> n, int depth_of_items, Int known_length, Int depth_of_loop);

  bool advance();  // to the next item, now `current`; false at the end
  std::optional<Value> attribute(const Value& self, std::string_view name);

  Value current;
  std::function<Value(Arguments&)> recurse;  // of a recursive loop

 private:
  bool peek();  // is there an item behind the current one?
  Int length();

  std::function<bool(Value&)> next_;
  std::deque<Value> ahead_;
  bool drained_ = false;
  Int length_;
  Int depth0_;
  Int index0_ = -1;
  Value before_;
  std::optional<Value> last_changed_;
};

}  // namespace plimsoll::jinja
