// What a run needs on one device of another engine: a prediction with an interval, never mixed with our exact plans.
//
// Every profile turns the run into allocation events of the rank with the most bytes; live bytes are read by memory/,
// and `reserved` by replaying the events through a model of the engine's allocator.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engines/engine_run.h"
#include "memory/live_range.h"

namespace plimsoll {

struct ByteInterval {
  int64_t bytes = 0;          // the prediction
  int64_t low = 0, high = 0;  // 90 of 100 measured rows of this kind lie within
};

struct PhasePeak {
  std::string name;  // "forward", "backward", "step"
  int64_t bytes = 0;
};

struct EngineMemory {
  ByteInterval allocated;    // live bytes, as torch.cuda.max_memory_allocated
  ByteInterval reserved;     // the allocator's segments, as torch.cuda.max_memory_reserved
  ByteInterval device_used;  // reserved, context, communicators and libraries' workspaces, as nvidia-smi
  // Bytes at the peak; they add up to allocated.bytes.
  int64_t parameters = 0, gradients = 0, optimizer_state = 0, activations = 0;
  std::string peak_phase, peak_op;
  std::vector<PhasePeak> phases;
  // What is offloaded, of one rank: in host memory (pinned buffers for the copies among it) and on NVMe.
  int64_t host_bytes = 0, pinned_bytes = 0, nvme_bytes = 0;
  std::string kind;  // the profile that answered: "torch", "sharded", "megatron" …
  std::string note;  // what the answer leaves out; empty
};

// Throws a caller Error where adapters are asked for and no layer of the model has one of the targets' names.
void require_adapters(const EngineRun& run);

// Throws a caller Error where the engine cannot do the run, naming what.
EngineMemory estimate_engine_memory(const EngineRun& run);

}  // namespace plimsoll
