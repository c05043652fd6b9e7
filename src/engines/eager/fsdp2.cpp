#include "engines/eager/fsdp2.h"

#include <algorithm>

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
    const bool whole = options.zero && full.numel() <= options.zero->persistence;
    shard->tensor = whole ? t.make(full.rows, full.cols, options.shard_type, "shard")
                          : t.make((first + options.ranks - 1) / options.ranks, rest, options.shard_type, "shard");
    if (!whole) {
      group.cut_values += full.numel();
      group.window = std::max(group.window, full.numel());
    }
    group.shard_values += shard->tensor.numel();
    if (shard->trained) group.trained_values += shard->tensor.numel();
    group.parameters.push_back(parameter.get());
    group.shards.push_back(std::move(shard));
    full.storage->resize(0, t.mark("resize_"));
    t.log.purposes[static_cast<size_t>(full.storage->id)] = Purpose::activation;  // while it is gathered
  }
  // Quantized weights are cut, too; they are gathered for one product at a time.
  for (Layer& layer : model.layers)
    for (Linear* linear : {&layer.q, &layer.k, &layer.v, &layer.qkv, &layer.q_a, &layer.q_b, &layer.kv_a, &layer.kv_b,
                           &layer.o, &layer.gate, &layer.up, &layer.gate_up, &layer.down})
      for (Tensor& part : linear->quantized)
        part.storage->resize((part.storage->bytes + options.ranks - 1) / options.ranks, t.mark("shard"));
  t.purpose = Purpose::activation;
  if (options.zero) make_windows(model);
}

// The largest product and what is fetched ahead of it; whole parameters are fetched until the bucket is full. A group
// stays gathered where fewer values than the reuse distance are used between its forward and its backward pass: those
// of the groups after it, twice.
void Fsdp2::make_windows(const Model& model) {
  const ZeroSettings& zero = *options_.zero;
  const bool recomputes = model.recipe.recompute == RecomputeKind::full;
  for (Group& group : groups_) {
    const int64_t room = std::min(zero.prefetch, std::max<int64_t>(0, zero.max_live - group.window));
    const int64_t ahead = room > 0 ? room + group.window : 0;
    // The products that are computed again in the backward pass stay where their gradients' turn is near.
    const int64_t reused = recomputes ? zero.reuse_distance / 2 : 0;
    group.backward_window = std::min(group.cut_values, group.window + ahead + reused);
    group.window = std::min(group.cut_values, group.window + ahead);
  }
  Group& last = groups_[root()];
  const Parameter* head = model.head.weight != nullptr ? model.head.weight : model.embedding;
  last.window = last.backward_window = head->tensor.numel();  // the embedding is let go after its use
  int64_t after = last.window;
  for (size_t i = root(); i-- > 0;) {
    groups_[i].stays = 2 * after < zero.reuse_distance;
    after += groups_[i].cut_values;
  }
  // Buckets and sums of gradients are there throughout.
  t_.purpose = Purpose::gradient;
  int64_t trained = 0;
  for (Group& group : groups_) trained += group.trained_values;
  if (trained > 0) {
    last.reduced = t_.make(trained, 1, options_.shard_type, "zeros.default");
    held_reduce_ = t_.make(zero.reduce_bucket, 1, options_.reduce_type, "empty.memory_format");
  }
  t_.purpose = Purpose::activation;
  t_.after_accumulate = [](Parameter& parameter) { parameter.grad.reset(); };
}

void Fsdp2::open(Group& group, int64_t values) {
  const Type type = group.parameters.empty() ? Type::bf16 : group.parameters.front()->tensor.type;
  group.gathered.reset();
  group.gathered = t_.make(values, 1, type, "all_gather_coalesced");
}

void Fsdp2::gather(Group& group) {
  if (group.there || group.gathering) return;
  const Type type = group.parameters.empty() ? Type::bf16 : group.parameters.front()->tensor.type;
  if (options_.in_place) {
    Tensor in;  // the rank's part in the type that is computed with, where that is another
    if (type != options_.shard_type) in = t_.make(group.shard_values, 1, type, "empty.memory_format");
    group.gathered = t_.make(group.shard_values * options_.ranks, 1, type, "resize_");  // the flat parameter
    group.there = true;
    return;
  }
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
  if (options_.in_place) {
    group.gathered.reset();
    group.there = false;
    return;
  }
  for (Parameter* parameter : group.parameters) parameter->tensor.storage->resize(0, t_.mark("resize_"));
  group.there = false;
}

void Fsdp2::before_forward(size_t index) {
  if (t_.in_recompute) return;
  Group& group = groups_[index];
  if (options_.zero) return open(group, group.window);
  if (group.there) return;
  gather(group);
  if (options_.in_place) return;
  copy_out(group);
  held_gather_ = std::move(group.gathered);
}

void Fsdp2::after_forward(size_t index) {
  if (t_.in_recompute) return;
  if (options_.zero) {
    Group& group = groups_[index];
    if (group.stays) open(group, group.cut_values);
    else if (index != root()) group.gathered.reset();
    return;
  }
  if (options_.reshard_after_forward) release(groups_[index]);
  if (index == root()) held_gather_.reset();
}

void Fsdp2::before_backward(size_t index) {
  Group& group = groups_[index];
  if (options_.zero) {
    if (!group.gathered.defined()) open(group, group.backward_window);
    return;
  }
  gather(group);
  copy_out(group);
  if (!options_.in_place) group.gathered.reset();
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
    t_.log.purposes[static_cast<size_t>(out.storage->id)] = Purpose::shard_gradient;
    group.reduced = std::move(out);
  }
  held_reduce_ = std::move(in);
}

void Fsdp2::after_backward(size_t index) {
  Group& group = groups_[index];
  if (options_.zero) return group.gathered.reset();
  release(group);
  reduce(group);
}

void Fsdp2::end_backward() {
  if (options_.zero) {
    for (Group& group : groups_) group.gathered.reset();
    return;
  }
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
  if (options_.zero) return;
  for (Group& group : groups_) group.reduced.reset();
}

}  // namespace plimsoll::eager
