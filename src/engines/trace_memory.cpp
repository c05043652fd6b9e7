#include "engines/trace_memory.h"

#include <algorithm>
#include <unordered_map>

#include "engines/caching_allocator.h"

namespace plimsoll {
namespace {

// One buffer a storage that lives in the measured step; time is the index of the event from there on. Sizes are exact
// (alignment 1).
struct Lives {
  std::vector<Buffer> buffers;
  std::vector<int32_t> storages;  // of each buffer
};

Lives lives_of(const eager::StepTrace& trace) {
  Lives lives;
  std::unordered_map<int32_t, size_t> open;
  const auto& events = trace.log.events;
  const auto end = static_cast<int32_t>(events.size() - trace.measured_from);
  for (size_t i = 0; i < events.size(); ++i) {
    const eager::Event& event = events[i];
    // What is there when the step begins lives from its time 0 on; its own events come after.
    const int32_t time = i < trace.measured_from ? 0 : static_cast<int32_t>(i - trace.measured_from) + 1;
    if (event.bytes > 0) {
      open[event.storage] = lives.buffers.size();
      Buffer buffer;
      buffer.size_bytes = event.bytes;
      buffer.alignment = 1;
      buffer.first = time;
      buffer.last = end;
      lives.buffers.push_back(buffer);
      lives.storages.push_back(event.storage);
    } else {
      Buffer& buffer = lives.buffers[open[event.storage]];
      buffer.last = i < trace.measured_from ? -1 : time - 1;
    }
  }
  size_t kept = 0;
  for (size_t i = 0; i < lives.buffers.size(); ++i) {
    if (lives.buffers[i].last < lives.buffers[i].first) continue;  // gone before the step
    lives.buffers[kept] = lives.buffers[i];
    lives.storages[kept++] = lives.storages[i];
  }
  lives.buffers.resize(kept);
  lives.storages.resize(kept);
  return lives;
}

std::string_view phase_of(std::string_view mark) { return mark.substr(0, mark.find(':')); }

double share_of(const DeviceShares& shares, eager::Purpose purpose) {
  switch (purpose) {
    case eager::Purpose::parameter:
      return shares.parameters;
    case eager::Purpose::gradient:
      return shares.gradients;
    case eager::Purpose::shard_gradient:
      return shares.shard_gradients;
    case eager::Purpose::optimizer_state:
      return shares.optimizer_states;
    case eager::Purpose::activation:
      break;
  }
  return 1;
}

}  // namespace

eager::StepTrace with_shares(const eager::StepTrace& trace, const DeviceShares& shares) {
  eager::StepTrace made = trace;
  made.log.events.clear();
  for (size_t i = 0; i < trace.log.events.size(); ++i) {
    if (i == trace.measured_from) made.measured_from = made.log.events.size();
    eager::Event event = trace.log.events[i];
    const double share = share_of(shares, trace.log.purposes[static_cast<size_t>(event.storage)]);
    if (share != 1) event.bytes = static_cast<int64_t>(share * static_cast<double>(event.bytes));
    if (event.bytes != 0) made.log.events.push_back(event);
  }
  return made;
}

EngineMemory memory_of_trace(const eager::StepTrace& trace) {
  EngineMemory memory;
  const Lives lives = lives_of(trace);
  const LivePeak peak = find_live_peak(lives.buffers);
  memory.allocated.bytes = peak.bytes;
  memory.host_bytes = trace.host_bytes;
  memory.reserved.bytes = reserved_bytes(trace.log.events);
  for (const int32_t index : buffers_live_at(lives.buffers, peak.time)) {
    const auto i = static_cast<size_t>(index);
    int64_t* place = &memory.activations;
    switch (trace.log.purposes[static_cast<size_t>(lives.storages[i])]) {
      case eager::Purpose::parameter:
        place = &memory.parameters;
        break;
      case eager::Purpose::gradient:
      case eager::Purpose::shard_gradient:
        place = &memory.gradients;
        break;
      case eager::Purpose::optimizer_state:
        place = &memory.optimizer_state;
        break;
      case eager::Purpose::activation:
        break;
    }
    *place += lives.buffers[i].size_bytes;
  }
  const auto& events = trace.log.events;
  if (peak.time > 0) {
    const std::string& mark =
        trace.log.marks[static_cast<size_t>(events[trace.measured_from + static_cast<size_t>(peak.time) - 1].mark)];
    memory.peak_phase = std::string(phase_of(mark));
    memory.peak_op = mark.substr(std::min(mark.size(), memory.peak_phase.size() + 2));
  }
  int64_t live = 0;
  for (size_t i = 0; i < events.size(); ++i) {
    const int64_t before = live;
    live += events[i].bytes;
    if (i < trace.measured_from) continue;
    const std::string_view phase = phase_of(trace.log.marks[static_cast<size_t>(events[i].mark)]);
    if (memory.phases.empty() || memory.phases.back().name != phase) {
      const auto known = std::find_if(memory.phases.begin(), memory.phases.end(),
                                      [&](const PhasePeak& each) { return each.name == phase; });
      if (known != memory.phases.end()) std::rotate(known, known + 1, memory.phases.end());
      else memory.phases.push_back({std::string(phase), before});
    }
    PhasePeak& now = memory.phases.back();
    now.bytes = std::max(now.bytes, live);
  }
  return memory;
}

}  // namespace plimsoll
