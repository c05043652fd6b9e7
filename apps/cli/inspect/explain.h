// How the parameters of a model are counted, as a person would by hand: every formula with its numbers. All of it is
// derived from the parameter list that the forward graph has, so it cannot disagree with the count.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arch/architecture.h"
#include "cli/inspect/inspect_report.h"
#include "config/model_config.h"

namespace plimsoll::cli {

// One kind of tensor within a layer, or one outside the layers.
struct CountLine {
  std::string name;     // "self_attn.q_proj", "mlp.experts.*.up_proj", "lm_head"
  std::string symbols;  // "H × heads·d", "8 × H × 768"
  std::string numbers;  // "4,096 × 32·128"; empty for a single number
  int64_t count = 0;
};

// Layers that have the same tensors.
struct LayerGroup {
  std::vector<int64_t> layers;
  std::vector<CountLine> lines;
  int64_t per_layer = 0;
};

struct CountExplanation {
  std::vector<CountLine> before, after;  // of the layers, in the model's order
  std::vector<LayerGroup> groups;
  int64_t total = 0;
};
CountExplanation explain_count(const ModelConfig& config, const std::vector<ParameterSpec>& parameters);

// The count as textbooks draw the model: weight matrices only, the unembedding counted even where it is the embedding.
// Empty for models that are not built of these (mixtures, latent attention).
struct MatrixCount {
  std::string name;  // embedding, query, key, value, output, gate, up, down, unembedding
  std::string formula;
  int64_t count = 0;
};
struct TextbookCount {
  std::vector<MatrixCount> matrices;
  int64_t matrices_total = 0;
  int64_t tied_unembedding = 0;                                   // in matrices_total, and not in the model
  int64_t positions = 0, projections = 0, biases = 0, norms = 0;  // in the model, and not in matrices_total
};
TextbookCount textbook_count(const ModelConfig& config, const std::vector<ParameterSpec>& parameters);

std::string explain_text(const std::string& source, const ModelConfig& config,
                         const std::vector<ParameterSpec>& parameters, const ParameterCounts& counts);

// [{name, formula, numbers, count, layers: [0, 1, …] or null outside of them}]; count times layers adds up to the
// total.
Json explain_json(const ModelConfig& config, const std::vector<ParameterSpec>& parameters);

}  // namespace plimsoll::cli
