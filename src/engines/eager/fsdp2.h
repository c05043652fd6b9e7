// Weights that are cut over ranks, around a model on a Tape: what each engine allocates and when, in the order of its
// hooks; collectives overlap with nothing.
//
// FSDP2 (torch.distributed.fsdp.fully_shard, PyTorch 2.13): one group a decoder layer and a root group with everything
// else, gathered into a buffer and copied out; backwards the next group is gathered before the present one is done.
// FSDP1 (FullyShardedDataParallel, BACKWARD_PRE): the same groups, gathered in place, without the copy.
// DeepSpeed's ZeRO-3 (deepspeed/runtime/zero/partitioned_param_coordinator.py): module by module; what is fetched ahead
// and what stays for its next use is bounded by settings. A gradient leaves for a bucket of fixed size as soon as it is
// there, small parameters are never cut.
#pragma once

#include <optional>

#include "engines/eager/model.h"

namespace plimsoll::eager {

struct ShardOptions {
  int64_t ranks = 1;
  bool reshard_after_forward = true;
  Type reduce_type = Type::f32;      // gradients are reduced in
  Type shard_type = Type::f32;       // shards and their gradients are kept in
  bool in_place = false;             // FSDP1
  std::optional<ZeroSettings> zero;  // DeepSpeed
};

struct Fsdp2 {
  // Takes over the model's parameters: each becomes an empty storage that is filled while its group is gathered, and a
  // shard. Only shards are trained.
  Fsdp2(Torch& t, Model& model, const ShardOptions& options);

  void before_forward(size_t group);
  void after_forward(size_t group);
  void before_backward(size_t group);
  void after_backward(size_t group);
  void end_backward();

  size_t root() const { return groups_.size() - 1; }
  std::vector<Parameter*> shards();
  void drop_gradients();

 private:
  struct Group {
    std::vector<Parameter*> parameters;
    std::vector<std::unique_ptr<Parameter>> shards;
    int64_t shard_values = 0, trained_values = 0;
    Tensor gathered;  // the collective's result, until it is copied out
    bool there = false, gathering = false;
    Tensor reduced;  // gradients of the shards
    // DeepSpeed: values that are there while the group is at work, and all that can be gathered.
    int64_t window = 0, backward_window = 0, cut_values = 0;
    bool stays = false;  // from its forward to its backward pass
  };
  void make_windows(const Model& model);
  void open(Group& group, int64_t values);
  void gather(Group& group);
  void copy_out(Group& group);
  void release(Group& group);
  void reduce(Group& group);

  Torch& t_;
  ShardOptions options_;
  std::vector<Group> groups_;
  Tensor held_gather_;  // freed when the next group is copied out
  Tensor held_reduce_;  // freed when the next group is reduced
};

}  // namespace plimsoll::eager
