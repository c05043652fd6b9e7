#include "engines/layout/pipeline_stages.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace plimsoll {

std::vector<int64_t> pipeline_chunks(const EngineLayout& layout, int64_t layers) {
  const int64_t count = layout.pipeline * layout.virtual_stages;
  if (!layout.chunk_layers.empty()) {
    const int64_t sum = std::accumulate(layout.chunk_layers.begin(), layout.chunk_layers.end(), int64_t{0});
    if (static_cast<int64_t>(layout.chunk_layers.size()) != count || sum != layers)
      throw caller_error("pipeline stages",
                         fmt::format("are {} chunks with {} layers together; the layout has {} chunks (stages × chunks "
                                     "each), the model {} layers",
                                     layout.chunk_layers.size(), sum, count, layers),
                         "name the layers of each chunk, as 3+4+4+1");
    return layout.chunk_layers;
  }
  const int64_t least = layers / count, more = layers % count, begin = (count - more) / 2;
  std::vector<int64_t> chunks(static_cast<size_t>(count), least);
  for (int64_t i = begin; i < begin + more; ++i) ++chunks[static_cast<size_t>(i)];
  return chunks;
}

std::vector<int64_t> uneven_chunks(const EngineLayout& layout, int64_t layers, int64_t first, int64_t last) {
  const int64_t stages = layout.pipeline, each = layout.virtual_stages;
  if (stages < 1 || each < 1) throw caller_error("pipeline stages", "are none", "give pp and vpp as 1 or more");
  const int64_t others = stages - (first > 0 ? 1 : 0) - (last > 0 ? 1 : 0), left = layers - first - last;
  const bool divides = first % each == 0 && last % each == 0 &&
                       (others > 0 ? left > 0 && left % (others * each) == 0 : others == 0 && left == 0);
  if (!divides)
    throw caller_error("pipeline stages",
                       fmt::format("{} layers without {} on the first stage and {} on the last don't divide among {} "
                                   "others",
                                   layers, first, last, std::max<int64_t>(0, others)),
                       "choose first= and last= so that they do, or name all stages, as stages=3+4+4+1");
  std::vector<int64_t> chunks;
  for (int64_t i = 0; i < stages * each; ++i) {
    const int64_t stage = i % stages;
    const int64_t held = stage == 0 && first > 0           ? first
                         : stage == stages - 1 && last > 0 ? last
                                                           : left / std::max<int64_t>(1, others);
    chunks.push_back(held / each);
  }
  return chunks;
}

std::vector<std::vector<size_t>> layers_of_stage(const std::vector<int64_t>& chunks, int64_t stages, int64_t stage) {
  std::vector<std::vector<size_t>> layers;
  size_t next = 0;
  for (size_t chunk = 0; chunk < chunks.size(); ++chunk) {
    const bool here = static_cast<int64_t>(chunk) % stages == stage;
    if (here) layers.emplace_back();
    for (int64_t i = 0; i < chunks[chunk]; ++i, ++next)
      if (here) layers.back().push_back(next);
  }
  return layers;
}

std::vector<double> micro_batches_in_flight(const EngineLayout& layout, int64_t micro_batches, int64_t stage) {
  const int64_t p = layout.pipeline, v = layout.virtual_stages;
  if (v == 1) return {static_cast<double>(std::min(micro_batches, p - stage))};
  int64_t left = std::min(micro_batches * v, 2 * (p - stage - 1) + (v - 1) * p + 1);
  std::vector<int64_t> held(static_cast<size_t>(v), 0);
  for (size_t chunk = 0; left > 0; chunk = (chunk + 1) % held.size()) {
    const int64_t turn = std::min({left, p, micro_batches - held[chunk]});
    held[chunk] += turn;
    left -= turn;
  }
  return {held.begin(), held.end()};
}

}  // namespace plimsoll
