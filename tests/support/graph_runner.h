// For tests: plans a few graphs over one arena and runs them on the CPU, with tensors set and read as floats by name.
#pragma once

#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "base/error.h"
#include "runtime/executor.h"

namespace plimsoll {

class GraphRunner {
 public:
  explicit GraphRunner(std::vector<Graph> phases, int threads = 2)
      : pool_(threads),
        plan_(plan_memory(
            std::move(phases),
            [threads](const Graph& graph, const Op& op) { return cpu_backend().workspace_bytes(graph, op, threads); })),
        arena_(plan_.arena_bytes) {
    // What a kernel fails to write must not look right by chance.
    std::memset(arena_.data(), 0x7f, static_cast<size_t>(arena_.bytes()));
    for (const ExecutionPlan& phase : plan_.phases) {
      prepare_cpu(phase);
      executors_.emplace_back(phase, arena_, cpu_backend(), pool_);
    }
  }

  const RunPlan& plan() const { return plan_; }
  RunState& state() { return state_; }
  void run(size_t phase = 0) { executors_.at(phase).run(state_); }

  // Inputs must be set before every run: their bytes are given away once they are read.
  void set(ValueId id, const std::vector<float>& values, size_t phase = 0) {
    const Value& value = plan_.phases.at(phase).graph.value(id);
    PLIMSOLL_CHECK(value.shape.elements() == static_cast<int64_t>(values.size()),
                   value.name + ": wrong number of values");
    std::byte* data = executors_.at(phase).data(id);
    for (size_t i = 0; i < values.size(); ++i) {
      if (value.dtype == DType::f32) reinterpret_cast<float*>(data)[i] = values[i];
      else if (value.dtype == DType::bf16) reinterpret_cast<uint16_t*>(data)[i] = f32_to_bf16(values[i]);
      else reinterpret_cast<int32_t*>(data)[i] = static_cast<int32_t>(values[i]);
    }
  }
  std::vector<float> get(ValueId id, size_t phase = 0) const {
    const Value& value = plan_.phases.at(phase).graph.value(id);
    const std::byte* data = executors_.at(phase).data(id);
    std::vector<float> values(static_cast<size_t>(value.shape.elements()));
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = value.dtype == DType::bf16 ? bf16_to_f32(reinterpret_cast<const uint16_t*>(data)[i])
                                             : reinterpret_cast<const float*>(data)[i];
    return values;
  }
  void set(const std::string& name, const std::vector<float>& values, size_t phase = 0) {
    set(plan_.phases.at(phase).graph.find(name), values, phase);
  }
  std::vector<float> get(const std::string& name, size_t phase = 0) const {
    return get(plan_.phases.at(phase).graph.find(name), phase);
  }

 private:
  ThreadPool pool_;
  RunPlan plan_;
  Arena arena_;
  std::deque<Executor> executors_;
  RunState state_;
};

}  // namespace plimsoll
