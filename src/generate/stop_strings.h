// Texts that end a generation: nothing of them, or behind them, is given out.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace plimsoll {

// A stop string may come in many pieces, so what could be the beginning of one is held back until it is known.
class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> stops);  // empty ones are left out

  // What of `piece`, and of what was held back, can be given out. Once found() it is nothing.
  std::string put(std::string_view piece);
  std::string finish();  // what was held back, at the end of the text
  bool found() const { return found_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool found_ = false;
};

}  // namespace plimsoll
