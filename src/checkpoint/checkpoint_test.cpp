#include "checkpoint/checkpoint.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "formats/safetensors.h"
#include "ops/op_def.h"
#include "support/test_files.h"

namespace plimsoll {
namespace {

namespace fs = std::filesystem;

// A backend of two kernels: they hand bytes to the host, as every backend's do.
Backend transfers() {
  Backend backend;
  backend.kernels[static_cast<size_t>(OpKind::save_tensor)] = [](const KernelContext& c) {
    c.state.host->save(c.op.attributes<TransferAttrs>().tensor, c.operand(0),
                       {c.operands[0], static_cast<size_t>(c.operand(0).bytes())}, {});
  };
  backend.kernels[static_cast<size_t>(OpKind::load_tensor)] = [](const KernelContext& c) {
    c.state.host->load(c.op.attributes<TransferAttrs>().tensor, c.operand(0),
                       {c.operands[0], static_cast<size_t>(c.operand(0).bytes())}, {});
  };
  return backend;
}

Graph transfer_graph(const char* phase, OpKind kind, int64_t columns) {
  Graph graph;
  graph.phase = phase;
  for (const char* name : {"master.w", "m.w"}) {
    TransferAttrs attrs;
    attrs.tensor = name;
    const ValueKind value = name[1] == '.' ? ValueKind::optimizer_state : ValueKind::master_weights;
    add_op(graph, {kind, {add_value(graph, {name, DType::f32, {3, columns}, value})}, attrs, name, OpRole::transfer});
  }
  return graph;
}

class CheckpointTest : public testing::Test {
 protected:
  explicit CheckpointTest(int64_t columns = 5)
      : plan_(plan_memory({transfer_graph("save", OpKind::save_tensor, columns),
                           transfer_graph("resume", OpKind::load_tensor, columns)},
                          [](const Graph&, const Op&) { return int64_t{0}; })) {}
  void fill(float first) {
    for (const char* name : {"master.w", "m.w"})
      for (int i = 0; i < 15; ++i) reinterpret_cast<float*>(save_.data(name))[i] = first + static_cast<float>(i);
  }
  void save(int64_t step) { save_checkpoint(folder_.path(), {step, 2, 1, 64, 0.5}, save_, state_); }

  TestFolder folder_;
  Backend backend_ = transfers();
  ThreadPool pool_{1};
  RunPlan plan_;
  Arena arena_{plan_.arena_bytes};
  Executor save_{plan_.phases[0], arena_, backend_, pool_}, resume_{plan_.phases[1], arena_, backend_, pool_};
  RunState state_;
};

TEST_F(CheckpointTest, WhatIsSavedComesBack) {
  fill(10);
  save(4);
  fill(99);
  const auto progress = find_checkpoint(folder_.path());
  ASSERT_TRUE(progress.has_value());
  EXPECT_EQ(progress->step, 4);
  EXPECT_EQ(progress->micro_batch, 2);
  EXPECT_EQ(progress->recompute_layers, 1);
  EXPECT_EQ(progress->ce_chunk_rows, 64);
  EXPECT_EQ(progress->train_seconds, 0.5);
  load_checkpoint(folder_.path(), *find_checkpoint(folder_.path()), resume_, state_);
  EXPECT_EQ(reinterpret_cast<float*>(save_.data("master.w"))[14], 24);
  EXPECT_EQ(reinterpret_cast<float*>(save_.data("m.w"))[0], 10);
  EXPECT_EQ(state_.host, nullptr);
}

TEST_F(CheckpointTest, TheNewestByNumberIsFoundAndOthersArePruned) {
  EXPECT_FALSE(find_checkpoint(folder_.path()).has_value());
  EXPECT_FALSE(find_checkpoint(folder_ / "absent").has_value());
  for (const int64_t step : {2, 10, 9}) save(step);
  fs::create_directories(folder_ / "checkpoint-99.partial");
  fs::create_directories(folder_ / "checkpoint-x");
  EXPECT_EQ(find_checkpoint(folder_.path())->step, 10);
  prune_checkpoints(folder_.path(), 2);
  EXPECT_FALSE(fs::exists(folder_ / "checkpoint-2"));
  EXPECT_TRUE(fs::exists(folder_ / "checkpoint-9"));
  EXPECT_FALSE(fs::exists(folder_ / "checkpoint-99.partial"));
  EXPECT_TRUE(fs::exists(folder_ / "checkpoint-x"));  // not ours
}

TEST_F(CheckpointTest, SavingAgainReplaces) {
  fill(1);
  save(4);
  fill(50);
  save(4);
  fill(0);
  load_checkpoint(folder_.path(), *find_checkpoint(folder_.path()), resume_, state_);
  EXPECT_EQ(reinterpret_cast<float*>(save_.data("m.w"))[0], 50);
}

TEST_F(CheckpointTest, AFolderThatCannotBeWrittenIsTheWorldsFault) {
  folder_.write("checkpoint-4.partial", "a file where the folder would be");
  folder_.write("blocked", "a file");
  EXPECT_EQ(catch_error([&] {
              save_checkpoint(folder_ / "blocked", {4, 1, 0, 8, 0}, save_, state_);
            }).kind,
            ErrorKind::world);
  EXPECT_EQ(state_.host, nullptr);
}

TEST_F(CheckpointTest, AFlippedBitIsNoticed) {
  fill(10);
  save(4);
  const std::string path = folder_ / "checkpoint-4/state.safetensors";
  std::string bytes = read_bytes(path);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  folder_.write("checkpoint-4/state.safetensors", bytes);
  expect_caller_error([&] { load_checkpoint(folder_.path(), *find_checkpoint(folder_.path()), resume_, state_); },
                      "is damaged");
}

TEST_F(CheckpointTest, AnotherRecipesCheckpointIsRefused) {
  save(4);
  const RunPlan other = plan_memory({transfer_graph("resume", OpKind::load_tensor, 6)},
                                    [](const Graph&, const Op&) { return int64_t{0}; });
  const Arena arena(other.arena_bytes);
  const Executor resume(other.phases[0], arena, backend_, pool_);
  expect_caller_error([&] { load_checkpoint(folder_.path(), *find_checkpoint(folder_.path()), resume, state_); },
                      "master.w");
  EXPECT_EQ(state_.host, nullptr);
}

}  // namespace
}  // namespace plimsoll
