// FSDP2 (torch.distributed.fsdp.fully_shard, PyTorch 2.13) around a model on a Tape: one group a decoder layer and a
// root group with everything else. What it allocates and when, in the order of its hooks; collectives overlap with
// nothing.
#pragma once

#include "engines/eager/model.h"

namespace plimsoll::eager {

struct ShardOptions {
  int64_t ranks = 1;
  bool reshard_after_forward = true;
  Type reduce_type = Type::f32;  // gradients are reduced in
  Type shard_type = Type::f32;   // shards and their gradients are kept in
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
  };
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
