// Every layout of a training run on every number of devices: what fits, how long it takes, what it costs.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engines/engine_profile.h"
#include "engines/engine_time.h"
#include "engines/rank_bytes.h"

namespace plimsoll {

// What an engine can start. ZeRO 0 is always allowed where there is one rank to cut over.
struct LayoutLimits {
  bool tensor = true, pipeline = true, context = true, expert = true, virtual_stages = true;
  std::array<bool, 4> zero = {true, true, true, true};
  int64_t most_devices = 0;  // 0: any number
};

struct SearchProblem {
  EngineRun base;  // model and recipe; layout, micro-batch, accumulation and recompute are what is searched
  const Device* device = nullptr;
  TimeHabits habits;
  TimeConstants constants;
  int64_t least_devices = 1, most_devices = 64;
  int64_t global_batch = 32;                // sequences of a step; where it can't be met exactly, the next larger one
  bool keep_batch = false;                  // no more data ranks than it has sequences
  double tokens = 0;                        // of the whole run; 0: one step
  double usd_per_device_hour = 0;           // 0: unknown
  double deadline_hours = 0, most_usd = 0;  // 0: none
  std::optional<RecomputeKind> recompute;   // only this one
  std::optional<int64_t> micro_batch;       // only this one
  LayoutLimits limits;
  std::string profile_engine;  // whose profile engine_bytes asks; empty: base.engine
  bool confirm = false;        // engine_bytes has the last word on every plan that wins a number of devices
};

struct LayoutPlan {
  EngineLayout layout;
  int64_t micro_batch = 1, grad_accum_steps = 1;
  RecomputeKind recompute = RecomputeKind::none;
  RankBytes bytes;
  std::optional<ByteInterval> engine_bytes;  // device used, where a profile was asked and knows the layout
  double step_seconds = 0;
  double tokens_per_second = 0;  // of all devices
  double hours = 0, usd = 0;     // of the run; usd 0 where no price is known
  int64_t devices() const { return layout.devices(); }
  int64_t rows_per_step() const { return micro_batch * grad_accum_steps * layout.data; }
};

struct LayoutSearch {
  std::vector<LayoutPlan> best;    // the fastest that fits, for each number of devices that has one
  std::vector<LayoutPlan> pareto;  // of time, money and devices: no other plan is better in one and as good in the rest
  std::optional<LayoutPlan> least;     // the fastest on the fewest devices that work
  std::optional<LayoutPlan> sure;      // the fewest devices on which the whole interval of the engine profile fits
  std::optional<LayoutPlan> nearest;   // on one device fewer: the layout with the least bytes, which does not fit or is
                                       // too late or too dear
  std::string what_stops;              // one fewer, in a sentence
  std::optional<LayoutPlan> by_bytes;  // the least that bytes allow, whatever the deadline and the price
  int64_t layouts = 0;                 // looked at
  int64_t fitting = 0;
  int64_t confirmed = 0, overruled = 0;  // plans that an engine profile was asked about, and those that it refused
};

// Throws a caller Error where the catalogue lacks a figure of the device, or where nothing can be searched.
LayoutSearch search_layouts(const SearchProblem& problem);

// The run of a plan, as engines/ reads it.
EngineRun run_of(const SearchProblem& problem, const LayoutPlan& plan);

// The run that is asked of a profile: on the problem's engine, or Megatron where that one can't cut the model so, in
// the recipe that is exported (full training in mixed precision has f32 weights, shards or masters).
EngineRun engine_run_of(const SearchProblem& problem, const LayoutPlan& plan);

// What the whole engine profile (engines/) says of a plan: device used. Empty where no profile follows such a run: a
// family that none knows.
std::optional<ByteInterval> engine_bytes(const SearchProblem& problem, const LayoutPlan& plan);

std::string layout_text(const LayoutPlan& plan);  // "data 2 · tensor 4 · pipeline 2, ZeRO-1, 4 × 8, recompute"

}  // namespace plimsoll
