#include "runtime/executor.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "base/bytes.h"
#include "base/error.h"
#include "base/processor_time.h"
#include "ops/op_def.h"

namespace plimsoll {

void HostServices::load(const std::string& tensor, const Value&, std::span<std::byte>, std::span<std::byte>) {
  PLIMSOLL_CHECK(false, "this run loads nothing, but an op asks for " + tensor);
}

void HostServices::save(const std::string& tensor, const Value&, std::span<const std::byte>, std::span<std::byte>) {
  PLIMSOLL_CHECK(false, "this run saves nothing, but an op offers " + tensor);
}

void HostServices::lay_out(const std::string& tensor, std::span<const std::byte>) {
  PLIMSOLL_CHECK(false, "this run streams nothing, but an op offers " + tensor);
}
void HostServices::offload(const std::string& tensor, std::span<const std::byte>) {
  PLIMSOLL_CHECK(false, "this run streams nothing, but an op offers " + tensor);
}
void HostServices::prefetch(const std::string& tensor, std::span<std::byte>) {
  PLIMSOLL_CHECK(false, "this run streams nothing, but an op asks for " + tensor);
}
void HostServices::await(const std::byte*) { PLIMSOLL_CHECK(false, "this run streams nothing"); }

Executor::Executor(const ExecutionPlan& plan, const Arena& arena, const Backend& backend, ThreadPool& pool)
    : plan_(plan), arena_(arena), backend_(backend), pool_(pool) {
  const auto address = [&](ValueId id) -> std::byte* {
    if (id == kNoValue) return nullptr;
    const int64_t offset = plan.value_offset[static_cast<size_t>(id)];
    if (offset < 0) return nullptr;
    const int64_t end = offset + plan.graph.value(id).bytes();
    PLIMSOLL_CHECK(end <= arena.bytes(), plan.graph.value(id).name + " lies outside the arena");
    used_bytes_ = std::max(used_bytes_, round_up(end, kArenaAlignment));  // a buffer is whole cache lines
    return arena.data() + offset;
  };
  for (size_t i = 0; i < plan.graph.ops.size(); ++i) {
    const Op& op = plan.graph.ops[i];
    PLIMSOLL_CHECK(backend.kernels[static_cast<size_t>(op.kind)] != nullptr,
                   std::string("the backend has no kernel for ") + name_of(op.kind));
    steps_.push_back({pointers_.size(), op.operands.size(), op.results.size()});
    for (const ValueId id : op.operands) pointers_.push_back(address(id));
    for (const ValueId id : op.results) pointers_.push_back(address(id));
    if (plan.workspace_offset[i] >= 0) {
      const int64_t end = plan.workspace_offset[i] + plan.workspace_bytes[i];
      PLIMSOLL_CHECK(end <= arena.bytes(), op.name + ": workspace lies outside the arena");
      used_bytes_ = std::max(used_bytes_, round_up(end, kArenaAlignment));
    }
  }
}

void Executor::run(RunState& state, Profile* profile) const {
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Op& op = plan_.graph.ops[i];
    const Step& step = steps_[i];
    std::byte* const* first = pointers_.data() + step.first_pointer;
    std::span<std::byte> workspace;
    if (plan_.workspace_offset[i] >= 0)
      workspace = {arena_.data() + plan_.workspace_offset[i], static_cast<size_t>(plan_.workspace_bytes[i])};
    const KernelContext context{
        plan_.graph, op, {first, step.operands}, {first + step.operands, step.results}, workspace, pool_, state};
    const Kernel kernel = backend_.kernels[static_cast<size_t>(op.kind)];
    if (profile == nullptr) {
      kernel(context);
      continue;
    }
    const double processors = process_seconds();
    const auto start = std::chrono::steady_clock::now();
    kernel(context);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    profile->seconds[static_cast<size_t>(op.kind)] += seconds;
    ++profile->calls[static_cast<size_t>(op.kind)];
    std::vector<double>& least = profile->least[&plan_];
    least.resize(steps_.size(), std::numeric_limits<double>::infinity());
    least[i] = std::min({least[i], seconds, process_seconds() - processors});
  }
}

std::byte* Executor::data(ValueId id) const {
  PLIMSOLL_CHECK(id != kNoValue && plan_.value_offset[static_cast<size_t>(id)] >= 0,
                 "the value has no bytes in phase " + plan_.name());
  return arena_.data() + plan_.value_offset[static_cast<size_t>(id)];
}

std::byte* Executor::data(std::string_view name) const {
  const ValueId id = plan_.graph.find(name);
  PLIMSOLL_CHECK(id != kNoValue, "phase " + plan_.name() + " has no value " + std::string(name));
  return data(id);
}

}  // namespace plimsoll
