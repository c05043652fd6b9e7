// `plimsoll plan --engine`: what a run would take on another engine. A prediction with intervals, kept apart from our
// own exact plans.
#pragma once

#include <string>

#include "cli/text/output.h"
#include "config/recipe/recipe.h"
#include "engines/engine_profile.h"

namespace plimsoll::cli {

struct EngineOptions {
  std::string engine;     // a stack of catalog/stack_memory.csv
  std::string layout;     // "dp=8,tp=2,zero=3"
  std::string weights;    // f32, bf16, f16, int8, nf4, nf4-dq; empty: by the recipe's precision
  std::string optimizer;  // adamw_foreach, …; empty: by the recipe
  bool autocast = false;
  std::string serve;            // vllm, llama.cpp, plimsoll: serving instead of training
  std::string kv;               // of a cached value: f16, fp8, q8_0, q4_0
  std::string device, catalog;  // whose memory and speed count
  std::string trace;            // file for the step's timeline
};

// Rows of measurements may name any stack; who asks on the command line means one that is known. Throws a caller Error
// that lists them.
void require_known_engine(const std::string& engine);

// Throws a caller Error that names the flag.
EngineRun engine_run(const Recipe& recipe, const EngineOptions& options);

// Prints, with the step's seconds where a device is named; 0, or throws does_not_fit where device_used is above the
// line, which is --memory, else the memory of the device.
int plan_on_engine(const Recipe& recipe, const EngineOptions& options, bool json);

// The same for serving: weights, keys and values, and how many users of --seq-len tokens fit into --memory.
int plan_serving(const Recipe& recipe, const EngineOptions& options, bool json);

}  // namespace plimsoll::cli
