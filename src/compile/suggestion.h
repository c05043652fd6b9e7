// A change of the recipe and what the run would take with it.
#pragma once

#include <cstdint>
#include <string>

namespace plimsoll {

struct Suggestion {
  std::string change;       // "--seq-len 256"
  int64_t total_bytes = 0;  // arena + overhead with that change
};

}  // namespace plimsoll
