#include "train/run_folder.h"

#include <gtest/gtest.h>

#include "support/test_files.h"

namespace plimsoll {
namespace {

TEST(RunFolder, HasOneWriter) {
  const TestFolder folder;
  {
    const RunFolderLock first(folder.path());
    expect_caller_error([&] { RunFolderLock second(folder.path()); }, "another run is writing here");
  }
  const RunFolderLock again(folder.path());  // free when the first is gone
}

TEST(RunFolder, AResumedRunIsTheRunThatWasBegun) {
  Recipe begun;
  begun.lr = 1e-4;
  Recipe longer = begun;
  longer.steps = 100;
  longer.threads = 3;
  longer.memory_bytes = 1 << 30;
  longer.save_every = 7;
  require_same_run(begun, longer);

  Recipe other = begun;
  other.lr = 2e-4;
  expect_caller_error([&] { require_same_run(begun, other); }, "--lr");
  other = begun;
  other.targets = "q_proj";
  expect_caller_error([&] { require_same_run(begun, other); }, "--targets");
  other = begun;
  other.seed = 1;
  expect_caller_error([&] { require_same_run(begun, other); }, "--seed");
}

}  // namespace
}  // namespace plimsoll
