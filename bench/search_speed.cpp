// How many layouts a second the search looks at: Llama 3.1 70B on 1 to 512 H100s, on one core. Processor time, so that
// a neighbour on the machine does not count.
#include <algorithm>
#include <cstdio>
#include <ctime>

#include "config/model_catalog.h"
#include "search/layout_search.h"

int main() {
  using namespace plimsoll;
  const Catalog catalog = load_catalog();
  SearchProblem problem;
  problem.base.engine = "megatron";
  problem.base.model = parse_hf_config(find_catalog_model("llama-3.1-70b")->config, "llama-3.1-70b");
  problem.base.recipe.seq_len = 4096;
  problem.base.recipe.optimizer = EngineOptimizer::adamw_fused;
  problem.device = &require_device(catalog, "h100-80g", "search_speed");
  problem.habits = time_habits("megatron");
  problem.constants = load_time_constants();
  problem.most_devices = 512;
  problem.global_batch = 512;
  double best = 1e30;
  LayoutSearch found;
  for (int round = 0; round < 3; ++round) {
    timespec start{}, end{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    found = search_layouts(problem);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    best = std::min(
        best, static_cast<double>(end.tv_sec - start.tv_sec) + 1e-9 * static_cast<double>(end.tv_nsec - start.tv_nsec));
  }
  std::printf("{\"layouts\": %lld, \"fitting\": %lld, \"seconds\": %.3f, \"layouts_per_second\": %.0f}\n",
              static_cast<long long>(found.layouts), static_cast<long long>(found.fitting), best,
              static_cast<double>(found.layouts) / best);
  return 0;
}
