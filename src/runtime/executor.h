// Runs the ops of a phase at the addresses of its plan. Allocates nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "compile/run_plan.h"

namespace plimsoll {

// One allocation of a memory space, resident from the start so that what is planned is what is used.
class Arena {
 public:
  // Throws a world Error when the system has no such memory.
  explicit Arena(int64_t bytes);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
  int64_t mapped_bytes_ = 0;
};

// Moves tensors between the arena and the outside; the owner of the files implements it. Errors are thrown.
class HostServices {
 public:
  virtual ~HostServices() = default;
  virtual void load(const std::string& tensor, const Value& target, std::span<std::byte> out,
                    std::span<std::byte> staging);
  virtual void save(const std::string& tensor, const Value& source, std::span<const std::byte> data,
                    std::span<std::byte> staging);
  // Tensors on disk (ops/state/stream.cpp): weights are laid out once, activations go out and come back in every
  // micro-batch. A read into `out` or a write of `data` begins; the place must stay until an await of it has returned.
  // Sizes are those of the tensor, places have room to a multiple of kDiskAlignment.
  virtual void lay_out(const std::string& tensor, std::span<const std::byte> data);
  virtual void offload(const std::string& tensor, std::span<const std::byte> data);
  virtual void prefetch(const std::string& tensor, std::span<std::byte> out);
  virtual void await(const std::byte* place);
};

// What ops read or report beside their operands.
struct RunState {
  double lr = 0;                   // of this step
  int64_t step = 0;                // optimizer steps done before this one
  double grad_norm = 0;            // out: ‖gradient‖₂ before clipping
  int64_t past_length = 0;         // generate: tokens in the caches
  int64_t row = 0;                 // gather_rows: which
  uint64_t seed = 0;               // init_tensor, dropout, stochastic rounding
  bool first_micro_batch = false;  // of a step: sums that an op starts are overwritten, not added to
  int64_t draw = 0;                // dropout: micro-batches of the run before this one
  double loss_scale = 1;           // the gradients are of the loss times this
  double gradient_limit = std::numeric_limits<double>::infinity();  // fp16: from here on a gradient overflows
  bool overflow = false;  // out: a gradient overflowed or is not finite, so nothing is updated
  HostServices* host = nullptr;
};

// A kernel's view of one op. Pointers follow the order of operands and results; absent operands are null.
struct KernelContext {
  const Graph& graph;
  const Op& op;
  std::span<std::byte* const> operands;
  std::span<std::byte* const> results;
  std::span<std::byte> workspace;
  ThreadPool& pool;
  RunState& state;

  const Value& operand(size_t index) const { return graph.value(op.operands[index]); }
  const Value& result(size_t index) const { return graph.value(op.results[index]); }
  bool has_operand(size_t index) const { return index < operands.size() && operands[index] != nullptr; }
  template <typename T>
  T* in(size_t index) const {
    return reinterpret_cast<T*>(operands[index]);
  }
  template <typename T>
  T* out(size_t index) const {
    return reinterpret_cast<T*>(results[index]);
  }
};

using Kernel = void (*)(const KernelContext& context);

// A backend: the kernel of each op, and the scratch it needs.
struct Backend {
  std::array<Kernel, kOpKindCount> kernels{};
  int64_t (*workspace_bytes)(const Graph& graph, const Op& op, int threads) = nullptr;
};

// Time spent per op kind, when asked for.
struct Profile {
  std::array<double, kOpKindCount> seconds{};
  std::array<int64_t, kOpKindCount> calls{};
  // Of each op of a phase, the least of its calls, by the clock on the wall or the processors' time, whichever is less:
  // on a machine that others use, too, a single thread still gets what the op itself takes.
  std::map<const ExecutionPlan*, std::vector<double>> least;
};

class Executor {
 public:
  // Resolves every address once. `plan`, `arena`, `backend` and `pool` must outlive the executor.
  Executor(const ExecutionPlan& plan, const Arena& arena, const Backend& backend, ThreadPool& pool);

  // Runs all ops in order. Throws the first error of a kernel or host service; the arena's activations are then
  // garbage, persistent values are as the op that failed left them.
  void run(RunState& state, Profile* profile = nullptr) const;

  // The bytes of a value, for the host to fill inputs and read outputs. The value must have bytes in this phase.
  std::byte* data(ValueId id) const;
  std::byte* data(std::string_view name) const;
  const ExecutionPlan& plan() const { return plan_; }
  // Highest end of any buffer that the ops of this phase touch: the arena bytes in use, counted from what is executed.
  int64_t used_bytes() const { return used_bytes_; }

 private:
  struct Step {
    size_t first_pointer, operands, results;
  };
  const ExecutionPlan& plan_;
  const Arena& arena_;
  const Backend& backend_;
  ThreadPool& pool_;
  std::vector<std::byte*> pointers_;
  std::vector<Step> steps_;
  int64_t used_bytes_ = 0;
};

}  // namespace plimsoll
