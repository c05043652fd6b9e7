#include "engines/eager/tape.h"

#include <algorithm>
#include <queue>

#include "base/error.h"

namespace plimsoll::eager {

int64_t type_bytes(Type type) {
  switch (type) {
    case Type::f32:
      return 4;
    case Type::bf16:
    case Type::f16:
      return 2;
    case Type::i64:
      return 8;
    case Type::u8:
    case Type::boolean:
      return 1;
  }
  return 4;
}

void EventLog::forget_dead() {
  std::vector<int> last(purposes.size(), -1);
  for (size_t i = 0; i < events.size(); ++i)
    last[static_cast<size_t>(events[i].storage)] = events[i].bytes > 0 ? static_cast<int>(i) : -1;
  std::vector<Event> kept;
  for (size_t i = 0; i < events.size(); ++i)
    if (last[static_cast<size_t>(events[i].storage)] == static_cast<int>(i)) kept.push_back(events[i]);
  events = std::move(kept);
}

Storage::Storage(EventLog* event_log, int64_t size, int32_t mark)
    : log(event_log), id(static_cast<int32_t>(event_log->purposes.size())), bytes(size) {
  log->purposes.push_back(Purpose::activation);
  if (bytes <= 0) return;
  log->live_bytes += bytes;
  log->events.push_back({id, bytes, mark});
}

Storage::~Storage() {
  if (bytes <= 0 || log->closed) return;
  log->live_bytes -= bytes;
  log->events.push_back({id, -bytes, log->events.back().mark});
}

void Storage::resize(int64_t size, int32_t mark) {
  if (bytes > 0) log->events.push_back({id, -bytes, mark});
  if (size > 0) log->events.push_back({id, size, mark});
  log->live_bytes += size - bytes;
  bytes = size;
}

int32_t Tape::mark(std::string_view name) {
  std::string text = phase;
  text += ": ";
  text += name;
  if (!backward_node.empty()) (text += " in ") += backward_node;
  if (!module.empty()) (text += " @ ") += module;
  if (in_recompute) text += " (recompute)";
  const auto [place, fresh] = mark_index_.try_emplace(std::move(text), static_cast<int32_t>(log.marks.size()));
  if (fresh) log.marks.push_back(place->first);
  return place->second;
}

Tensor Tape::make(int64_t rows, int64_t cols, Type type, std::string_view name) {
  Tensor tensor;
  tensor.storage = std::make_shared<Storage>(&log, rows * cols * type_bytes(type), mark(name));
  log.purposes[static_cast<size_t>(tensor.storage->id)] = purpose;
  tensor.rows = rows;
  tensor.cols = cols;
  tensor.type = type;
  return tensor;
}

std::shared_ptr<Node> Tape::node(std::string_view name) {
  auto made = std::make_shared<Node>();
  made->name = name;
  made->sequence = sequence++;
  return made;
}

void Tape::edge(Node& node, const Tensor& to) {
  Edge edge;
  if (grad_enabled && to.node) {
    edge.node = to.node;
    edge.input = to.output;
  }
  edge.rows = to.rows;
  edge.cols = to.cols;
  edge.type = to.type;
  node.edges.push_back(std::move(edge));
}

void Tape::save(Node& node, const Tensor& x) {
  Tensor bare = x;
  bare.node = nullptr;
  if (recomputing) {
    // What only dropped results would have needed isn't kept.
    const bool wanted = !recomputing->asked_for[recomputing->recomputed.size()].expired();
    recomputing->recomputed.push_back(wanted ? std::move(bare) : Tensor{});
    if (recomputing->recomputed.size() == recomputing->packed) throw StopRecompute{};
    node.saved.push_back([] { return Tensor{}; });
    return;
  }
  if (recording) {
    const size_t index = recording->packed++;
    const auto ticket = std::make_shared<int>();
    recording->asked_for.push_back(ticket);
    node.saved.push_back([frame = recording, index, ticket] {
      if (!frame->done) {
        frame->recompute();
        frame->done = true;
      }
      return std::move(frame->recomputed[index]);
    });
    return;
  }
  node.saved.push_back(keep(bare));
}

Saved Tape::keep(const Tensor& x) {
  // torchtune/training/_activation_offloading.py: min_offload_size, max_fwd_stash_size.
  constexpr int64_t kSmallest = 1024;
  constexpr size_t kLeaving = 5;
  const int64_t bytes = x.numel() * type_bytes(x.type);
  const bool stays =
      !offloads || bytes < kSmallest || log.purposes[static_cast<size_t>(x.storage->id)] == Purpose::parameter;
  if (stays) return [x] { return x; };
  most_away_bytes = std::max(most_away_bytes, away_bytes += bytes);
  leaving_.push_back(x);
  if (leaving_.size() > kLeaving) leaving_.pop_front();
  Tensor shape = x;
  shape.storage.reset();
  return [this, shape = std::move(shape), bytes] {
    leaving_.clear();  // the backward pass waits for the copies first of all
    away_bytes -= bytes;
    Tensor back = shape;
    back.storage = make(shape.rows, shape.cols, shape.type, "_to_copy.default").storage;
    return back;
  };
}

// The engine's check of a node's results: the shape and the type of what they are gradients of.
void Tape::validate(Node& node, std::vector<Tensor>& grads) {
  for (size_t i = 0; i < grads.size(); ++i) {
    Tensor& grad = grads[i];
    const Edge& edge = node.edges[i];
    if (!grad.defined()) continue;
    if (grad.numel() != edge.rows * edge.cols) grad = make(edge.rows, edge.cols, grad.type, "sum.dim_IntList");
    if (grad.type != edge.type) grad = make(edge.rows, edge.cols, edge.type, "_to_copy.default");
    grad.rows = edge.rows;
    grad.cols = edge.cols;
  }
}

// A gradient that arrives where another waits is added to it: in place when nobody else holds the one that waits, else
// into a new tensor.
void Tape::accumulate(Node& node, int input, Tensor grad) {
  if (node.buffer.size() < static_cast<size_t>(node.inputs)) node.buffer.resize(static_cast<size_t>(node.inputs));
  Tensor& place = node.buffer[static_cast<size_t>(input)];
  if (!place.defined()) {
    place = std::move(grad);
    return;
  }
  if (place.storage.use_count() == 1 && !place.transposed) return;  // in place
  Tensor sum = make(place.rows, place.cols, place.type, "add.Tensor");
  place = std::move(sum);
}

void Tape::accumulate_leaf(Parameter& leaf, Tensor grad) {
  if (!leaf.grad.defined()) {
    // Taken over when nobody else holds it, else copied.
    if (grad.storage.use_count() > 1) grad = make(grad.rows, grad.cols, grad.type, "clone.default");
    leaf.grad = std::move(grad);
    log.purposes[static_cast<size_t>(leaf.grad.storage->id)] = Purpose::gradient;
  }
  if (after_accumulate) after_accumulate(leaf);
}

void Tape::backward(Tensor root) {
  const bool before = grad_enabled;
  grad_enabled = false;
  std::shared_ptr<Node> start = root.node;
  if (!start) throw Error(ErrorKind::internal, "backward", "nothing requires a gradient", "");
  std::vector<Node*> stack{start.get()};
  start->seen = true;
  while (!stack.empty()) {
    Node* node = stack.back();
    stack.pop_back();
    for (const Edge& edge : node->edges) {
      if (!edge.node) continue;
      ++edge.node->waiting;
      if (!edge.node->seen) {
        edge.node->seen = true;
        stack.push_back(edge.node.get());
      }
    }
  }
  using Ready = std::pair<uint64_t, std::shared_ptr<Node>>;
  const auto later = [](const Ready& a, const Ready& b) { return a.first < b.first; };
  std::priority_queue<Ready, std::vector<Ready>, decltype(later)> ready(later);
  accumulate(*start, root.output, make(1, 1, root.type, "ones_like.default"));
  root.reset();
  ready.push({start->sequence, start});
  start.reset();
  while (!ready.empty()) {
    std::shared_ptr<Node> node = ready.top().second;
    ready.pop();
    node->seen = false;
    backward_node = node->name;
    std::vector<Tensor> in = std::move(node->buffer);
    node->buffer.clear();
    in.resize(static_cast<size_t>(node->inputs));
    if (node->leaf) {
      accumulate_leaf(*node->leaf, std::move(in[0]));
      backward_node = {};
      continue;
    }
    std::vector<Tensor> out(node->edges.size());
    node->apply(*node, in, out);
    backward_node = node->name;
    validate(*node, out);
    in.clear();
    node->saved.clear();
    node->apply = nullptr;
    for (size_t i = 0; i < out.size(); ++i) {
      Node* next = node->edges[i].node.get();
      if (!next) continue;
      if (out[i].defined()) accumulate(*next, node->edges[i].input, std::move(out[i]));
      out[i].reset();
      if (--next->waiting == 0) ready.push({next->leaf ? UINT64_MAX : next->sequence, node->edges[i].node});
    }
    node->edges.clear();
    backward_node = {};
  }
  grad_enabled = before;
}

}  // namespace plimsoll::eager
