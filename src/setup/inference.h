// What runs without a training plan share: their load phase, and memory for it.
#pragma once

#include <string>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "compile/run_plan.h"
#include "runtime/executor.h"
#include "setup/sources.h"

namespace plimsoll {

// A phase "load" that fills every persistent value of `phases`: parameters and adapters from files, accumulators and
// caches with zeros.
Graph build_load_phase(const std::vector<Graph>& phases, int64_t staging_bytes,
                       const std::vector<DoraNorm>& norms = {});

// Adds the load phase and plans all of them for the CPU engine. A caller Error when a parameter is not in `weights`.
// `norms`: of frozen DoRA adapters, made once all weights are there.
RunPlan plan_inference(std::vector<Graph> phases, const TensorIndex& weights, int threads,
                       const std::vector<DoraNorm>& norms = {});

// Runs the load phase.
void load_weights(const RunPlan& plan, const Arena& arena, ThreadPool& pool, const ModelFiles& model,
                  const AdapterSource& adapter);

// `threads` as asked; 0: all that this process may use.
int threads_or_all(int64_t threads);

}  // namespace plimsoll
