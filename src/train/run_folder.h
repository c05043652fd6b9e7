// The folder of a run: one writer at a time, and a resumed run is the run that was begun.
#pragma once

#include <optional>
#include <string>

#include "checkpoint/checkpoint.h"
#include "config/recipe/recipe.h"
#include "train/trainer.h"

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

// Paths of files and folders that exist as absolute ones, so that a run goes on from any working directory; ids of the
// hub as they are.
Recipe with_absolute_paths(Recipe recipe);

// A caller Error naming the first field in which `recipe` would change what a run begun with `begun` computes. Its
// length, threads, memory, and how often it saves and evaluates may change. The file of a run: fields that somebody
// took out of it are not compared.
void require_same_run(const Recipe& begun, const Recipe& recipe);
void require_same_run(const std::string& recipe_file, const Recipe& recipe);

// adapter/ or model/ of a run that has written its result; empty: none.
std::string finished_result(const std::string& out);

// The report of a run in `out` that has nothing left to do, from what it wrote. nullopt where that cannot be told
// without its data, and for a run that is not finished. A caller Error for a finished run without a checkpoint that is
// to go on.
std::optional<TrainReport> find_finished_run(const std::string& out, const Recipe& recipe,
                                             const std::optional<CheckpointProgress>& checkpoint);

}  // namespace plimsoll
