// Names that a template can see, and the functions that every template has.
#pragma once

#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/jinja/value.h"

namespace plimsoll::jinja {

struct Scope {
  static constexpr int64_t kBytes = 256;  // about, as the meter counts it

  explicit Scope(std::shared_ptr<Scope> p) : parent(std::move(p)) { add_live_bytes(kBytes); }
  ~Scope() { drop_live_bytes(kBytes); }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

  void set(std::string_view name, Value value);
  const Value* find(std::string_view name) const;  // here or in a parent; nullptr when nowhere

  std::shared_ptr<Scope> parent;
  std::vector<std::pair<std::string, Value>> variables;
};

class RaisedFailure : public Failure {
 public:
  using Failure::Failure;
};

// range, dict, namespace, cycler, joiner, raise_exception, strftime_now. `on_namespace` hears of every namespace made:
// they can hold themselves, and somebody must break that cycle when the rendering is over.
std::shared_ptr<Scope> make_globals(const std::tm& now, std::function<void(const Value&)> on_namespace);

}  // namespace plimsoll::jinja
