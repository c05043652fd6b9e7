// What rows of Megatron-LM and its relatives say in their notes, by the names of its own flags.
#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/text.h"
#include "engines/layout/pipeline_stages.h"
#include "engines/measured/measured_rows.h"

namespace plimsoll {
namespace {

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

int64_t note_number(std::string_view notes, std::string_view key) {
  constexpr int64_t kMost = 1 << 16;  // more is no number of layers or chunks
  const int64_t value = parse_integer(note_value(notes, key)).value_or(0);
  return value < 0 || value > kMost ? 0 : value;
}

// "[layernorm mla_up_proj mlp moe_act]"
RecomputeModules modules_of(std::string_view notes) {
  RecomputeModules modules;
  const size_t at = notes.find("recompute-modules=[");
  if (at == std::string_view::npos) return modules;
  const size_t from = notes.find('[', at) + 1;
  std::string_view list = notes.substr(from, notes.find(']', from) - from);
  while (!list.empty()) {
    const std::string_view name = list.substr(0, list.find(' '));
    list.remove_prefix(std::min(list.size(), name.size() + 1));
    set_recompute_module(modules, name);
  }
  return modules;
}

// --pipeline-model-parallel-layout, as "Et*2|(tt|)*5t|tmL": E the embedding, t a layer, m a layer for further tokens, L
// the loss; "|" ends a chunk, "*N" repeats what is before it. Empty where it is no such text.
std::vector<int64_t> chunks_of(std::string_view text) {
  constexpr size_t kLongest = 4096;
  std::string flat;
  const auto count_at = [&](size_t& i) {
    if (i + 1 >= text.size() || text[i + 1] != '*') return int64_t{1};
    const size_t from = i + 2, end = std::min(text.find_first_not_of("0123456789", from), text.size());
    i = end - 1;
    return std::clamp<int64_t>(parse_integer(text.substr(from, end - from)).value_or(1), 1, kLongest);
  };
  for (size_t i = 0; i < text.size(); ++i) {
    std::string part(1, text[i]);
    if (text[i] == '(') {
      const size_t close = text.find(')', i);
      if (close == std::string_view::npos) return {};
      part = text.substr(i + 1, close - i - 1);
      i = close;
    }
    for (int64_t times = count_at(i); times > 0 && flat.size() < kLongest; --times) flat += part;
  }
  std::vector<int64_t> chunks{0};
  for (const char c : flat) {
    if (c == '|') chunks.push_back(0);
    else if (c == 't') ++chunks.back();
    else if (c != 'E' && c != 'm' && c != 'L') return {};
  }
  return chunks;
}

// Stages of other than equal depth.
void read_stages(std::string_view notes, std::string_view name, MeasuredRow& made) {
  EngineLayout& l = made.run.layout;
  const int64_t layers = made.run.model.layers;
  if (l.pipeline > layers) return;  // refused later
  constexpr std::string_view kLayout = "pipeline-model-parallel-layout=";
  if (const size_t at = notes.find(kLayout); at != std::string_view::npos) {
    const std::string_view text = notes.substr(at + kLayout.size());
    const std::vector<int64_t> chunks = chunks_of(text.substr(0, text.find_first_of("; ")));
    const auto count = static_cast<int64_t>(chunks.size());
    const int64_t sum = std::accumulate(chunks.begin(), chunks.end(), int64_t{0});
    if (count == 0 || count % l.pipeline != 0 || sum != layers) return;
    l.virtual_stages = count / l.pipeline;
    l.chunk_layers = chunks;
    return;
  }
  int64_t first = note_number(notes, "decoder-first-pipeline-num-layers");
  int64_t last = note_number(notes, "decoder-last-pipeline-num-layers");
  const int64_t virtual_stages = note_number(notes, "num-virtual-stages-per-pipeline-rank");
  if (virtual_stages > 1 && l.pipeline > 1) l.virtual_stages = virtual_stages;
  if (contains(name, "account_for_embedding_loss")) {  // embedding and loss count as a layer each
    const int64_t count = l.pipeline * l.virtual_stages;
    if (count < 2 || (layers + 2) % count != 0) return;
    l.chunk_layers.assign(static_cast<size_t>(count), (layers + 2) / count);
    --l.chunk_layers.front();
    --l.chunk_layers.back();
    return;
  }
  if (first == 0 && last == 0) return;
  // What is left has to divide; where it does not, the row names one end of two, and they are alike.
  const int64_t others = l.pipeline - 1;
  if (others > 0 && (layers - first - last) % others != 0) first = last = std::max(first, last);
  try {
    l.chunk_layers = uneven_chunks(l, layers, first, last);
  } catch (const Error& error) {
    if (made.unknown_memory.empty()) made.unknown_memory = error.problem();
  }
}

}  // namespace

void read_published_megatron(const RowCells& row, std::string_view name, MeasuredRow& made) {
  const std::string_view notes = row["notes"];
  EngineRecipe& recipe = made.run.recipe;
  const bool dropout = made.run.model.architecture == "megatron_gpt";
  const auto rate = [&](std::string_view key) {
    return parse_number(note_value(notes, key)).value_or(dropout ? 0.1 : 0.0);
  };
  recipe.hidden_dropout = rate("hidden-dropout");
  recipe.attention_dropout = rate("attention-dropout");
  recipe.fused_loss =
      note_value(notes, "cross-entropy-loss-fusion") == "true" || contains(notes, "cross-entropy fusion");
  recipe.further_tokens = note_number(notes, "mtp-num-layers");
  recipe.modules = modules_of(notes);
  // Megatron-Core's own modules write the scores of attention; Transformer Engine's do where a test asks for them,
  // and its deterministic tests do (--attention-backend unfused) but for those that resume a run. What is no such
  // test and deterministic may do either.
  const bool deterministic = note_value(notes, "deterministic-mode") == "true";
  const bool test = contains(name, "mcore");
  const bool only_engine = made.run.layout.context > 1 || recipe.compute == ComputeMode::fp8;
  const bool asks = deterministic && !contains(name, "resume");
  if (test && !only_engine && (!contains(name, "_te_") || asks)) recipe.attention = AttentionKernel::math;
  // So do all with latent attention: fused, it gave NaN there (the tests' own remark).
  if (test && made.run.model.latent.kv_rank > 0) recipe.attention = AttentionKernel::math;
  recipe.maybe_scores = deterministic;
  if (contains(name, "fine_grained_offloading") && made.unknown_memory.empty())
    made.unknown_memory = "which activations it offloads isn't stated";
  // Its tests of many experts on a rank compute them one by one, but where their name says otherwise.
  if (contains(name, "experts2parallel")) recipe.grouped_experts = contains(name, "groupedgemm");
  // Several copies of the distributed optimizer, each over a part of the ranks: two at least.
  EngineLayout& layout = made.run.layout;
  const int64_t data = layout.data * layout.context;
  if (contains(name, "multi_dist_optimizer_instances") && data % 2 == 0) layout.shard_ranks = data / 2;
  if (contains(name, "defer_embedding_wgrad")) recipe.deferred_logits = 0;
  if (contains(notes, "SimuMax")) layout.sequence_parallel = true;
  read_stages(notes, name, made);
}

}  // namespace plimsoll
