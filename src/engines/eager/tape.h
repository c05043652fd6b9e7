// A tape of eager PyTorch: tensors that know only their bytes, kept alive by whoever holds them, and an autograd engine
// with PyTorch's order. Running a model's forward pass on it gives the very births and deaths of storages that the
// caching allocator of a real run sees.
//
// What is copied from PyTorch is behaviour, not code: nodes run by descending sequence number (accumulation into a
// parameter first of all), a node's gradients are checked against what they belong to (summed, cast) before its inputs
// and then its saved tensors are dropped, and gradients that meet are added. Names of ops are PyTorch's, for reports.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace plimsoll::eager {

enum class Type : uint8_t { f32, bf16, f16, i64, u8, boolean };
int64_t type_bytes(Type type);
inline bool is_half(Type type) { return type == Type::bf16 || type == Type::f16; }

// One birth (bytes > 0) or death (bytes < 0) of a storage. Storages without bytes have no events.
struct Event {
  int32_t storage = 0;
  int64_t bytes = 0;
  int32_t mark = 0;  // index into EventLog::marks: the op that ran
};

// What a storage is for, so that the bytes at the peak can be told apart.
enum class Purpose : uint8_t {
  activation,
  parameter,
  gradient,
  shard_gradient,  // reduced: a rank's part
  optimizer_state
};

struct EventLog {
  std::vector<Event> events;
  std::vector<Purpose> purposes;   // by storage
  std::vector<std::string> marks;  // "phase: op", each once
  int64_t live_bytes = 0;
  bool closed = false;  // nothing is written any more
  void forget_dead();   // keeps only the births of what lives
};

struct Storage {
  EventLog* log;
  int32_t id;
  int64_t bytes;
  Storage(EventLog* log, int64_t bytes, int32_t mark);
  ~Storage();
  void resize(int64_t size, int32_t mark);  // to nothing or from nothing, in place: who holds it keeps it
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
};

struct Node;
struct Parameter;

// Rows times columns; everything finer is the caller's. Copies share the storage. `node` is what made it, empty where
// no gradient flows.
struct Tensor {
  std::shared_ptr<Storage> storage;
  int64_t rows = 0, cols = 0;
  Type type = Type::f32;
  std::shared_ptr<Node> node;
  int output = 0;
  bool transposed = false;  // a gradient that is seen through a transposition: it is never added to in place

  int64_t numel() const { return rows * cols; }
  bool defined() const { return storage != nullptr; }
  bool requires_grad() const { return node != nullptr; }
  void reset() { *this = Tensor{}; }
};

// A leaf. `grad` is what backward leaves.
struct Parameter {
  std::string name;
  Tensor tensor;
  Tensor grad;
  bool trained = false;
  bool is_vector = false;  // of one dimension
};

using Saved = std::function<Tensor()>;  // gives a saved tensor back; may make it again (recompute)

struct Edge {
  std::shared_ptr<Node> node;
  int input = 0;
  int64_t rows = 0, cols = 0;  // of what the gradient belongs to
  Type type = Type::f32;
};

// One op on the way back. `apply` gets the gradients of the outputs (undefined where none came) and fills one gradient
// an edge; an edge without node wants none.
struct Node {
  std::string_view name;
  uint64_t sequence = 0;
  std::vector<Edge> edges;
  std::vector<Saved> saved;
  std::function<void(Node&, std::vector<Tensor>& in, std::vector<Tensor>& out)> apply;
  Parameter* leaf = nullptr;
  int inputs = 1;
  // Of the backward pass that runs.
  std::vector<Tensor> buffer;
  int waiting = 0;
  bool seen = false;

  bool wants(size_t edge) const { return edges[edge].node != nullptr; }
};

struct StopRecompute {};  // thrown when a recomputed layer has given all that was asked for

// What recomputes a layer: see checkpoint().
struct Frame {
  std::function<void()> recompute;
  size_t packed = 0;                          // tensors saved by the first forward pass
  std::vector<std::weak_ptr<int>> asked_for;  // alive as long as somebody may ask for the tensor
  std::vector<Tensor> recomputed;             // by order of saving; dropped one by one
  bool done = false;
};

struct Tape {
  EventLog log;
  std::string phase = "forward";
  std::string_view op;             // for the marks
  std::string_view module;         // where the model is, for the marks
  std::string_view backward_node;  // set while a node runs
  bool grad_enabled = true;
  uint64_t sequence = 0;
  std::shared_ptr<Frame> recording;    // saved tensors belong to this layer and are not kept
  std::shared_ptr<Frame> recomputing;  // saved tensors are collected for this layer
  bool in_recompute = false;
  Purpose purpose = Purpose::activation;             // of storages made now
  std::function<void(Parameter&)> after_accumulate;  // called when a parameter's gradient is complete; may be empty
  // torchtune's activation offloading: what is saved goes to the host, but for parameters, the smallest tensors, and
  // the last few, whose copies are under way; asked for, it is made again.
  bool offloads = false;
  int64_t away_bytes = 0, most_away_bytes = 0;

  Tensor make(int64_t rows, int64_t cols, Type type, std::string_view op);
  int32_t mark(std::string_view op);
  // Saves `x` for the node's backward pass: kept, or left to the layer's recomputation. A parameter is never kept.
  void save(Node& node, const Tensor& x);
  Saved keep(const Tensor& x);  // what gives `x` back: itself, or its copy from the host
  std::shared_ptr<Node> node(std::string_view name);
  void edge(Node& node, const Tensor& to);
  // Runs the whole graph behind `root`, whose gradient of ones it makes.
  void backward(Tensor root);

 private:
  std::unordered_map<std::string, int32_t> mark_index_;
  std::deque<Tensor> leaving_;  // on their way to the host
  void validate(Node& node, std::vector<Tensor>& grads);
  void accumulate(Node& node, int input, Tensor grad);
  void accumulate_leaf(Parameter& leaf, Tensor grad);
};

}  // namespace plimsoll::eager
