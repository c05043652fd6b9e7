// Everything a training plan needs to know before it: the model, the adapter, the recipe with what they decide.
#pragma once

#include "compile/choose_plan.h"
#include "config/recipe/recipe.h"
#include "setup/sources.h"

namespace plimsoll {

struct RunSources {
  Recipe recipe;  // with an adapter's rank and alpha in place
  ModelFiles model;
  AdapterSource adapter;
  TrainSources train;
  int threads = 1;
};

// --memory auto: the line, with a note of what is free. Throws a world Error as auto_memory_line.
int64_t free_memory_line();

// `need`: ModelNeed::config to plan, ModelNeed::weights to run.
RunSources open_run_sources(const Recipe& recipe, ModelNeed need);

// The recipe's data files before they are read: rows that lie in the index in memory (an upper bound), bytes of the
// longest row as it stands in the file, and of what unpacks a packed file. 0 without.
struct DataExtent {
  int64_t indexed_rows = 0, longest_row_bytes = 0, unpacking_bytes = 0;
};
DataExtent measure_data(const Recipe& recipe);

// The upper bound of everything in the process that is not the arena: code and libraries, primitives, stacks, graphs,
// tokenizer tables, the index of the data. A test holds real runs to it.
int64_t runtime_overhead_bytes(const RunSources& sources, const DataExtent& data);
int64_t runtime_overhead_bytes(const ModelConfig& config, int threads, const DataExtent& data);  // without adapters

// What the process needs to unpack, parse and tokenize the longest row, with nothing else in it yet.
int64_t reading_bytes(const RunSources& sources, const DataExtent& data);
int64_t reading_bytes(const ModelConfig& config, int threads, const DataExtent& data);  // without adapters

// A caller Error unless every parameter of the model is in its files with the shape that the configuration gives. Runs
// before the arena is there, so that wrong files cost no time.
void check_weights(const ModelFiles& model, const std::vector<ParameterSpec>& parameters);

// What the machine adds to a plan of these sources. `folder`: where the run will write, and streamed tensors will lie;
// its disk is measured when a plan asks. `disk` may be asked by several threads.
PlanTarget plan_target(const RunSources& sources, const DataExtent& data, const std::string& folder);

TrainPlan plan_run(const RunSources& sources, const std::string& folder = ".");

}  // namespace plimsoll
