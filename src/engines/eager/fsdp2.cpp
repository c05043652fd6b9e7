#include "engines/eager/fsdp2.h"

#include <map>

namespace plimsoll::eager {
namespace {

size_t layer_of(const std::string& name, size_t layers) {
  static constexpr std::string_view kPrefix = "layers.";
  if (name.rfind(kPrefix, 0) != 0) return layers;
  return static_cast<size_t>(std::stoll(name.substr(kPrefix.size())));
}

}  // namespace

Fsdp2::Fsdp2(Torch& t, Model& model, const ShardOptions& options) : t_(t), options_(options) {
  groups_.resize(model.layers.size() + 1);
  t.purpose = Purpose::parameter;
  for (const auto& parameter : model.parameters) {
    Group& group = groups_[layer_of(parameter->name, model.layers.size())];
    Tensor& full = parameter->tensor;
    // The first dimension is cut; the last rank's part is padded. Vectors are cut by values.
    const int64_t first = parameter->is_vector ? full.cols : full.rows;
    const int64_t rest = parameter->is_vector ? 1 : full.cols;
    auto shard = std::make_unique<Parameter>();
    shard->name = parameter->name;
    shard->is_vector = parameter->is_vector;
    shard->trained = parameter->trained;
    shard->tensor = t.make((first + options.ranks - 1) / options.ranks, rest, options.shard_type, "shard");
    group.shard_values += shard->tensor.numel();
    if (shard->trained) group.trained_values += shard->tensor.numel();
    group.parameters.push_back(parameter.get());
    group.shards.push_back(std::move(shard));
    full.storage->resize(0, t.mark("resize_"));
    t.log.purposes[static_cast<size_t>(full.storage->id)] = Purpose::activation;  // while it is gathered
  }
  // Quantized weights are cut, too; they are gathered for one product at a time.
  for (Layer& layer : model.layers)
    for (Linear* linear :
         {&layer.q, &layer.k, &layer.v, &layer.qkv, &layer.o, &layer.gate, &layer.up, &layer.gate_up, &layer.down})
      for (Tensor& part : linear->quantized)
        part.storage->resize((part.storage->bytes + options.ranks - 1) / options.ranks, t.mark("shard"));
  t.purpose = Purpose::activation;
}

void Fsdp2::gather(Group& group) {
  if (group.there || group.gathering) return;
  const Type type = group.parameters.empty() ? Type::bf16 : group.parameters.front()->tensor.type;
  Tensor in = t_.make(group.shard_values, 1, type, "empty.memory_format");
  group.gathered = t_.make(group.shard_values * options_.ranks, 1, type, "empty.memory_format");
  group.gathering = true;
}

void Fsdp2::copy_out(Group& group) {
  if (!group.gathering) return;
  for (Parameter* parameter : group.parameters) {
    const Tensor& full = parameter->tensor;
    full.storage->resize(full.numel() * type_bytes(full.type), t_.mark("resize_"));
  }
  group.gathering = false;
  group.there = true;
}

void Fsdp2::release(Group& group) {
  if (!group.there) return;
  for (Parameter* parameter : group.parameters) parameter->tensor.storage->resize(0, t_.mark("resize_"));
  group.there = false;
}

void Fsdp2::before_forward(size_t index) {
  if (t_.in_recompute) return;
  Group& group = groups_[index];
  if (group.there) return;
  gather(group);
  copy_out(group);
  held_gather_ = std::move(group.gathered);
}

void Fsdp2::after_forward(size_t index) {
  if (t_.in_recompute) return;
  if (options_.reshard_after_forward) release(groups_[index]);
  if (index == root()) held_gather_.reset();
}

void Fsdp2::before_backward(size_t index) {
  Group& group = groups_[index];
  gather(group);
  copy_out(group);
  group.gathered.reset();
  if (index == root() && root() > 0) gather(groups_[root() - 1]);
  else if (index > 0 && index != root()) gather(groups_[index - 1]);
}

void Fsdp2::reduce(Group& group) {
  bool any = false;
  for (const Parameter* parameter : group.parameters) any = any || parameter->grad.defined();
  if (!any) return;
  held_reduce_.reset();
  Tensor in = t_.make(group.trained_values * options_.ranks, 1, options_.reduce_type, "empty.memory_format");
  for (Parameter* parameter : group.parameters) parameter->grad.reset();
  Tensor out = t_.make(group.trained_values, 1, options_.reduce_type, "empty.memory_format");
  if (options_.reduce_type != options_.shard_type)
    out = t_.make(group.trained_values, 1, options_.shard_type, "_to_copy.default");
  if (!group.reduced.defined()) {
    t_.log.purposes[static_cast<size_t>(out.storage->id)] = Purpose::gradient;
    group.reduced = std::move(out);
  }
  held_reduce_ = std::move(in);
}

void Fsdp2::after_backward(size_t index) {
  Group& group = groups_[index];
  release(group);
  reduce(group);
}

void Fsdp2::end_backward() {
  for (size_t i = groups_.size(); i-- > 0;) {
    if (i != root() && !groups_[i].there) continue;
    release(groups_[i]);
    reduce(groups_[i]);
  }
  held_reduce_.reset();
}

std::vector<Parameter*> Fsdp2::shards() {
  std::vector<Parameter*> all;
  for (Group& group : groups_)
    for (const auto& shard : group.shards)
      if (shard->trained) all.push_back(shard.get());
  return all;
}

void Fsdp2::drop_gradients() {
  for (Group& group : groups_) group.reduced.reset();
}

}  // namespace plimsoll::eager
