// What a signal that ends the program takes along: folders in which nothing is yet.
#pragma once

#include <string>

namespace plimsoll {

// While it lives, SIGINT, SIGTERM and SIGHUP remove `folder` before they end the program, if it is empty. Signals that
// are ignored or handled elsewhere are left as they are. A few at a time; more, or a very long path, are not guarded.
class SignalFolder {
 public:
  explicit SignalFolder(const std::string& folder);
  ~SignalFolder();
  SignalFolder(const SignalFolder&) = delete;
  SignalFolder& operator=(const SignalFolder&) = delete;

 private:
  int slot_ = -1;
};

}  // namespace plimsoll
