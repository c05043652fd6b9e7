// The folder of a run: one writer at a time, and a resumed run is the run that was begun.
#pragma once

#include <string>

#include "config/recipe.h"

namespace plimsoll {

// Holds `folder` until it is destroyed or the process dies. A caller Error when another run holds it.
class RunFolderLock {
 public:
  explicit RunFolderLock(const std::string& folder);
  ~RunFolderLock();
  RunFolderLock(const RunFolderLock&) = delete;
  RunFolderLock& operator=(const RunFolderLock&) = delete;

 private:
  int fd_ = -1;
};

// A caller Error naming the first field in which `recipe` would change what a run begun with `begun` computes. Its
// length, threads, memory, and how often it saves and evaluates may change.
void require_same_run(const Recipe& begun, const Recipe& recipe);

}  // namespace plimsoll
