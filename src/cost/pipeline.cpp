#include "cost/pipeline.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace plimsoll {
namespace {

struct Task {
  int64_t chunk, micro_batch;
  bool backward;
};

// The order of work on a stage. One chunk a stage: warm-up forwards, then one forward and one backward in turn. More:
// chunks take turns in groups of `stages` micro-batches (Megatron-LM's order).
class StageOrder {
 public:
  StageOrder(int64_t stages, int64_t chunks_each, int64_t micro_batches, int64_t stage)
      : p_(stages), v_(chunks_each), stage_(stage), total_(micro_batches * chunks_each) {
    warm_up_ = std::min(v_ == 1 ? p_ - stage - 1 : (p_ - stage - 1) * 2 + (v_ - 1) * p_, total_);
  }
  int64_t size() const { return 2 * total_; }
  Task task(int64_t i) const {
    if (i < warm_up_) return kth(i, false);
    const int64_t steady = i - warm_up_, pairs = total_ - warm_up_;
    if (steady >= 2 * pairs) return kth(steady - pairs, true);
    return steady % 2 == 0 ? kth(warm_up_ + steady / 2, false) : kth(steady / 2, true);
  }

 private:
  Task kth(int64_t k, bool backward) const {
    if (v_ == 1) return {stage_, k, backward};
    const int64_t group = k / (p_ * v_), within = k % (p_ * v_);
    int64_t virtual_stage = within / p_;
    if (backward) virtual_stage = v_ - 1 - virtual_stage;
    return {virtual_stage * p_ + stage_, group * p_ + within % p_, backward};
  }
  int64_t p_, v_, stage_, total_, warm_up_ = 0;
};

}  // namespace

PipelineResult simulate_pipeline(const PipelineProblem& asked, bool keep_events) {
  PipelineProblem problem = asked;
  const int64_t p = problem.stages;
  const auto chunks = static_cast<int64_t>(problem.chunks.size());
  if (chunks > p) problem.micro_batches = (asked.micro_batches + p - 1) / p * p;  // whole groups, see the header
  const int64_t m = problem.micro_batches;
  PLIMSOLL_CHECK(p >= 1 && m >= 1 && chunks >= p && chunks % p == 0,
                 "chunks of a pipeline are a multiple of its stages");
  constexpr double kNever = std::numeric_limits<double>::infinity();
  // When a task's result is on the stage that needs it.
  std::vector<double> forward_end(static_cast<size_t>(chunks * m), kNever);
  std::vector<double> backward_end(static_cast<size_t>(chunks * m), kNever);
  const auto at = [&](int64_t chunk, int64_t micro_batch) { return static_cast<size_t>(chunk * m + micro_batch); };
  std::vector<StageOrder> orders;
  orders.reserve(static_cast<size_t>(p));
  for (int64_t s = 0; s < p; ++s) orders.emplace_back(p, chunks / p, m, s);
  std::vector<int64_t> next(static_cast<size_t>(p), 0);
  std::vector<double> free_at(static_cast<size_t>(p), 0.0);
  PipelineResult result;
  result.busy_seconds.assign(static_cast<size_t>(p), 0.0);
  const double hop = p > 1 ? problem.transfer_seconds : 0;
  bool moved = true;
  while (moved) {
    moved = false;
    for (int64_t s = 0; s < p; ++s) {
      const StageOrder& order = orders[static_cast<size_t>(s)];
      int64_t& i = next[static_cast<size_t>(s)];
      while (i < order.size()) {
        const Task task = order.task(i);
        double ready = 0;
        if (!task.backward) {
          if (task.chunk > 0) ready = forward_end[at(task.chunk - 1, task.micro_batch)] + hop;
        } else {
          ready = task.chunk + 1 < chunks ? backward_end[at(task.chunk + 1, task.micro_batch)] + hop
                                          : forward_end[at(task.chunk, task.micro_batch)];
        }
        if (ready == kNever) break;
        const StageSeconds& seconds = problem.chunks[static_cast<size_t>(task.chunk)];
        const double duration = task.backward ? seconds.backward : seconds.forward;
        double& free = free_at[static_cast<size_t>(s)];
        const double start = std::max(ready, free);
        free = start + duration;
        (task.backward ? backward_end : forward_end)[at(task.chunk, task.micro_batch)] = free;
        result.busy_seconds[static_cast<size_t>(s)] += duration;
        result.seconds = std::max(result.seconds, free);
        if (keep_events) result.events.push_back({s, task.chunk, task.micro_batch, task.backward, start, free});
        ++i;
        moved = true;
      }
    }
  }
  for (int64_t s = 0; s < p; ++s)
    PLIMSOLL_CHECK(next[static_cast<size_t>(s)] == orders[static_cast<size_t>(s)].size(), "the pipeline stands still");
  if (keep_events)
    std::sort(result.events.begin(), result.events.end(),
              [](const PipelineEvent& a, const PipelineEvent& b) { return a.start < b.start; });
  return result;
}

double pipeline_seconds(const PipelineProblem& problem) {
  const int64_t p = problem.stages, m = problem.micro_batches;
  if (p == 1 && problem.chunks.size() == 1)
    return static_cast<double>(m) * (problem.chunks[0].forward + problem.chunks[0].backward);
  const int64_t v = static_cast<int64_t>(problem.chunks.size()) / p;
  // Warm when every stage has had its first micro-batches; interleaved schedules repeat with each group of `p`.
  const int64_t period = v == 1 ? 1 : p;
  const int64_t warm = v == 1 ? p + 2 : 2 * p;
  if (m <= warm + period) return simulate_pipeline(problem).seconds;
  const int64_t rest = (m - warm) / period;
  PipelineProblem shorter = problem;
  shorter.micro_batches = m - rest * period;
  const double first = simulate_pipeline(shorter).seconds;
  shorter.micro_batches += period;
  return first + static_cast<double>(rest) * (simulate_pipeline(shorter).seconds - first);
}

}  // namespace plimsoll
