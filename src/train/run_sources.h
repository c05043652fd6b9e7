// Everything a training plan needs to know before it: the model, the adapter, the recipe with what they decide.
#pragma once

#include "compile/choose_plan.h"
#include "config/recipe.h"
#include "train/sources.h"

namespace plimsoll {

struct RunSources {
  Recipe recipe;  // with an adapter's rank and alpha in place
  ModelFiles model;
  AdapterSource adapter;
  TrainSources train;
  int threads = 1;
};

RunSources open_run_sources(const Recipe& recipe);

// The upper bound of everything in the process that is not the arena: code and libraries, primitives, stacks, graphs,
// tokenizer tables, the index of the data. A test holds real runs to it.
int64_t runtime_overhead_bytes(const ModelConfig& config, int threads, int64_t data_rows);

// Lines of the recipe's data files: an upper bound of their rows. 0 without data.
int64_t count_data_rows(const Recipe& recipe);

TrainPlan plan_run(const RunSources& sources);

}  // namespace plimsoll
