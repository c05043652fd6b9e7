#include "engines/layout/layout_rules.h"

#include <fmt/format.h>

#include <string>

#include "base/error.h"
#include "engines/layout/pipeline_stages.h"
#include "engines/stack_memory.h"

namespace plimsoll {
namespace {

[[noreturn]] void refuse(const std::string& key, const std::string& what, const std::string& way_out) {
  throw caller_error("--layout " + key, what, way_out);
}

bool cuts_heads(const ModelConfig& m, int64_t ranks) {
  const bool groups = m.latent.kv_rank > 0 || m.kv_heads % ranks == 0 || ranks % m.kv_heads == 0;
  return m.heads % ranks == 0 && groups && m.intermediate_size % ranks == 0;
}

int64_t nearest_below(int64_t from, auto&& works) {
  for (int64_t n = from; n > 1; --n)
    if (works(n)) return n;
  return 1;
}

void check_tensor(const ModelConfig& m, int64_t tensor) {
  if (cuts_heads(m, tensor)) return;
  refuse(fmt::format("tp={}", tensor),
         fmt::format("cuts {} heads, {} key-value heads and {} inner values unevenly", m.heads, m.kv_heads,
                     m.intermediate_size),
         fmt::format("tp={}", nearest_below(std::min(tensor, m.heads), [&](int64_t n) { return cuts_heads(m, n); })));
}

void check_experts(const EngineRun& run) {
  const EngineLayout& l = run.layout;
  const int64_t experts = run.model.mixture.experts, tensor = l.expert_tensor > 0 ? l.expert_tensor : l.tensor;
  if (l.expert > 1 && experts == 0) refuse(fmt::format("ep={}", l.expert), "the model has no experts", "leave ep= out");
  const int64_t ranks = l.data * l.context * l.tensor;
  const auto works = [&](int64_t n) { return experts % n == 0 && ranks % (n * tensor) == 0; };
  if (experts == 0 || works(l.expert)) return;
  if (ranks % tensor != 0)
    refuse(fmt::format("etp={}", tensor), fmt::format("does not divide the {} ranks of dp · cp · tp", ranks),
           fmt::format("etp={}", l.tensor));
  refuse(fmt::format("ep={}", l.expert),
         fmt::format("must divide {} experts, and ep · {} tensor ranks of an expert the {} ranks of dp · cp · tp",
                     experts, tensor, ranks),
         fmt::format("ep={}", nearest_below(std::min(l.expert, experts), works)));
}

void check_pipeline(const EngineRun& run) {
  const EngineLayout& l = run.layout;
  const int64_t layers = run.model.layers;
  if (l.virtual_stages > 1 && l.pipeline == 1)
    refuse(fmt::format("vpp={}", l.virtual_stages), "chunks are of pipeline stages, and there is one",
           "pp=2 or more, or leave vpp= out");
  if (l.chunk_layers.empty() && l.pipeline > layers)
    refuse(fmt::format("pp={}", l.pipeline), fmt::format("is more stages than {} layers", layers),
           fmt::format("pp={} at most", layers));
  // The embedding and the head may be a chunk each (--account-for-embedding-in-pipeline-split, …-loss-…).
  if (l.chunk_layers.empty() && l.virtual_stages > 1 && l.pipeline * l.virtual_stages > layers + 2)
    refuse(fmt::format("vpp={}", l.virtual_stages),
           fmt::format("makes {} chunks of {} layers", l.pipeline * l.virtual_stages, layers),
           fmt::format("vpp={} at most", std::max<int64_t>(1, (layers + 2) / l.pipeline)));
  pipeline_chunks(l, layers);
  if (l.zero_stage >= 2 && l.pipeline > 1)
    refuse(fmt::format("zero={}", l.zero_stage),
           "beside a pipeline would reduce gradients and gather weights again with every micro-batch; search leaves it "
           "out, too",
           "zero=1, or pp=1");
}

void check_sequence(const EngineRun& run) {
  const EngineLayout& l = run.layout;
  const int64_t parts = (l.context > 1 ? 2 * l.context : 1) * (l.sequence_parallel ? l.tensor : 1);
  if (run.recipe.seq_len % parts != 0)
    refuse(l.context > 1 ? fmt::format("cp={}", l.context) : "sp=1",
           fmt::format("cuts {} tokens into {} unequal parts", run.recipe.seq_len, parts),
           fmt::format("--seq-len {}", (run.recipe.seq_len / parts + 1) * parts));
}

}  // namespace

void refuse_impossible_layout(const EngineRun& run) {
  const EngineLayout& l = run.layout;
  for (const auto& [key, ranks] : {std::pair{"dp", l.data},
                                   {"tp", l.tensor},
                                   {"pp", l.pipeline},
                                   {"cp", l.context},
                                   {"ep", l.expert},
                                   {"vpp", l.virtual_stages}})
    if (ranks < 1 || ranks > int64_t{1} << 20)
      refuse(fmt::format("{}={}", key, ranks), "is no number of ranks", fmt::format("{}=1 to 1048576", key));
  if (l.context > 1) check_sequence(run);
  if (stack_memory(run.engine).profile != MemoryProfile::megatron) return;
  check_tensor(run.model, l.tensor);
  check_experts(run);
  check_pipeline(run);
  check_sequence(run);
}

}  // namespace plimsoll
