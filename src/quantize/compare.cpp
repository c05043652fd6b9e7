#include "quantize/compare.h"

#include <algorithm>
#include <cmath>

#include "arch/architecture.h"
#include "base/error.h"
#include "ops/op_def.h"
#include "quantize/layer_stream.h"
#include "setup/inference.h"
#include "setup/weight_loader.h"

namespace plimsoll {
namespace {

constexpr const char* kHeads = "heads";
const std::string kOriginal = "original.";
constexpr int64_t kHeadRows = 64;  // positions at once: logits take two rows of the vocabulary for each

// The last pieces of both models in one phase, over `rows` positions of their own.
struct Heads {
  Graph graph;
  std::array<std::vector<ValueId>, 2> in;
  std::array<ValueId, 2> logits{};
};

Heads build_heads(const ModelConfig& config, int64_t rows) {
  const LayerStream small(config, rows);
  const ForwardPiece& last = small.pieces().back();
  Heads heads;
  heads.graph.phase = kHeads;
  for (size_t side = 0; side < 2; ++side) {
    const std::vector<ValueId> places = append_graph(heads.graph, last.graph, side == 0 ? kOriginal : "");
    for (const ValueId id : last.carried_in) heads.in[side].push_back(places[static_cast<size_t>(id)]);
    heads.logits[side] = places[static_cast<size_t>(last.graph.outputs.back())];
  }
  return heads;
}

RunPlan plan_heads(const Heads& heads, int64_t staging, int threads) {
  std::vector<Graph> phases = {heads.graph};
  phases.insert(phases.begin(), build_load_phase(phases, staging));
  for (const Graph& phase : phases) verify(phase);
  return plan_memory(std::move(phases), [threads](const Graph& graph, const Op& op) {
    return cpu_backend().workspace_bytes(graph, op, threads);
  });
}

// Parameters of the original by their prefix, of the other model without.
class PairLoader : public HostServices {
 public:
  PairLoader(const TensorIndex& original, const TensorIndex& other) : original_(original), other_(other) {}
  void load(const std::string& tensor, const Value& value, std::span<std::byte> out,
            std::span<std::byte> staging) override {
    if (tensor.starts_with(kOriginal)) original_.load(tensor.substr(kOriginal.size()), value, out, staging);
    else other_.load(tensor, value, out, staging);
  }

 private:
  WeightLoader original_, other_;
};

// The largest arena over the pieces but the last.
int64_t pieces_arena(const LayerStream& stream, const TensorIndex& weights, int threads) {
  int64_t bytes = 0;
  for (size_t i = 0; i + 1 < stream.pieces().size(); ++i)
    bytes = std::max(bytes, plan_piece({stream.pieces()[i].graph}, weights, threads).arena_bytes);
  return bytes;
}

// What the last piece reads, for every batch.
std::unique_ptr<Carried> run_layers(const ModelFiles& model, const LayerStream& stream, const TextBatches& batches,
                                    const Arena& arena, ThreadPool& pool, const QuantizeOptions& options,
                                    const std::string& name) {
  std::unique_ptr<Carried> carried;
  const auto last = static_cast<int64_t>(stream.pieces().size()) - 1;
  for (int64_t i = 0; i < last; ++i) {
    const ForwardPiece& piece = stream.pieces()[static_cast<size_t>(i)];
    const RunPlan plan = plan_piece({piece.graph}, model.tensors, pool.threads());
    load_weights(plan, arena, pool, model, {});
    const Executor executor(plan.phase(piece.graph.phase), arena, cpu_backend(), pool);
    auto next = std::make_unique<Carried>(piece);
    stream.run(piece, executor, batches, carried.get(), next.get());
    carried = std::move(next);
    if (options.on_progress) options.on_progress(name + ", layer", i + 1, last);
  }
  return carried;
}

}  // namespace

PositionComparison compare_logits(const float* original, const float* other, int64_t vocabulary, int32_t label) {
  const float* tops[2] = {std::max_element(original, original + vocabulary),
                          std::max_element(other, other + vocabulary)};
  const double most[2] = {*tops[0], *tops[1]};
  double sum[2] = {0, 0}, moment = 0;
  for (int64_t i = 0; i < vocabulary; ++i) {
    const double p = std::exp(static_cast<double>(original[i]) - most[0]);
    sum[0] += p;
    sum[1] += std::exp(static_cast<double>(other[i]) - most[1]);
    moment += p * (static_cast<double>(original[i]) - static_cast<double>(other[i]));
  }
  const double log_sum[2] = {most[0] + std::log(sum[0]), most[1] + std::log(sum[1])};
  PositionComparison out;
  out.original_loss = log_sum[0] - static_cast<double>(original[label]);
  out.loss = log_sum[1] - static_cast<double>(other[label]);
  out.kl = std::max(0.0, moment / sum[0] - log_sum[0] + log_sum[1]);
  out.same_top = tops[0] - original == tops[1] - other;
  return out;
}

int64_t comparison_bytes(const ModelFiles& original, const QuantizeOptions& options, int threads) {
  const LayerStream stream(original.config, options.seq_len);
  const int64_t rows = std::min(kHeadRows, options.seq_len);
  const int64_t heads =
      plan_heads(build_heads(original.config, rows), load_staging_bytes(original.tensors), threads).arena_bytes;
  return std::max(heads, pieces_arena(stream, original.tensors, threads));
}

QuantizeComparison compare_models(const ModelFiles& original, const ModelFiles& quantized,
                                  const QuantizeOptions& options, ThreadPool& pool) {
  const TextBatches batches = TextBatches::packed(original, options.eval, options.seq_len, options.eval_rows);
  const LayerStream stream(original.config, options.seq_len);
  const int64_t rows = std::min(kHeadRows, options.seq_len);
  const Heads heads = build_heads(original.config, rows);
  const int64_t staging = std::max(load_staging_bytes(original.tensors), load_staging_bytes(quantized.tensors));
  const RunPlan plan = plan_heads(heads, staging, pool.threads());
  const Arena arena(std::max({plan.arena_bytes, pieces_arena(stream, original.tensors, pool.threads()),
                              pieces_arena(stream, quantized.tensors, pool.threads())}));
  const std::array<std::unique_ptr<Carried>, 2> hidden = {
      run_layers(original, stream, batches, arena, pool, options, "original"),
      run_layers(quantized, stream, batches, arena, pool, options, "quantized")};

  PairLoader loader(original.tensors, quantized.tensors);
  RunState state;
  state.host = &loader;
  Executor(plan.phase(phase_names::kLoad), arena, cpu_backend(), pool).run(state);
  const Executor executor(plan.phase(kHeads), arena, cpu_backend(), pool);
  const int64_t vocabulary = original.config.vocab_size;
  QuantizeComparison out;
  double original_loss = 0, loss = 0, kl = 0, same = 0;
  std::vector<PositionComparison> positions(static_cast<size_t>(rows));
  for (int64_t batch = 0; batch < batches.count(); ++batch) {
    for (int64_t first = 0; first < options.seq_len; first += rows) {
      const int64_t count = std::min(rows, options.seq_len - first);
      const int32_t* labels = batches.batch(batch).labels.data() + first;
      if (std::all_of(labels, labels + count, [](int32_t label) { return label == kIgnoredLabel; })) continue;
      for (size_t side = 0; side < 2; ++side)
        for (size_t value = 0; value < heads.in[side].size(); ++value) {
          const ValueId id = heads.in[side][value];
          hidden[side]->read_rows(batch, first, count, value,
                                  {executor.data(id), static_cast<size_t>(heads.graph.value(id).bytes())});
        }
      executor.run(state);
      const auto* a = reinterpret_cast<const float*>(executor.data(heads.logits[0]));
      const auto* b = reinterpret_cast<const float*>(executor.data(heads.logits[1]));
      pool.parallel_for(count, [&](int64_t i, int) {
        if (labels[i] != kIgnoredLabel)
          positions[static_cast<size_t>(i)] =
              compare_logits(a + i * vocabulary, b + i * vocabulary, vocabulary, labels[i]);
      });
      for (int64_t i = 0; i < count; ++i) {
        if (labels[i] == kIgnoredLabel) continue;
        const PositionComparison& position = positions[static_cast<size_t>(i)];
        original_loss += position.original_loss;
        loss += position.loss;
        kl += position.kl;
        same += position.same_top ? 1 : 0;
        ++out.tokens;
      }
    }
    if (options.on_progress) options.on_progress("comparison, row", batch + 1, batches.count());
  }
  const auto tokens = static_cast<double>(std::max<int64_t>(1, out.tokens));
  out.original_perplexity = std::exp(original_loss / tokens);
  out.perplexity = std::exp(loss / tokens);
  out.kl_divergence = kl / tokens;
  out.top1_agreement = same / tokens;
  if (!std::isfinite(out.perplexity) || !std::isfinite(out.original_perplexity))
    throw caller_error("--eval", "the loss is not a finite number", "check the weights of the model");
  return out;
}

}  // namespace plimsoll
