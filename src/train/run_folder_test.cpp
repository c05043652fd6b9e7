#include "train/run_folder.h"

#include <gtest/gtest.h>

#include <filesystem>

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

TEST(RunFolder, PathsOfFilesAreAbsolute) {
  const TestFolder folder;
  folder.write("rows.jsonl", "");
  const std::string before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  Recipe recipe;
  recipe.model = "org/name";
  recipe.data = {"rows.jsonl", "./rows.jsonl", "absent.jsonl"};
  recipe = with_absolute_paths(recipe);
  const std::string rows = std::filesystem::current_path() / "rows.jsonl";
  std::filesystem::current_path(before);
  EXPECT_EQ(recipe.model, "org/name");
  EXPECT_EQ(recipe.data, (std::vector<std::string>{rows, rows, "absent.jsonl"}));
}

}  // namespace
}  // namespace plimsoll
