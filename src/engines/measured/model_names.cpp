#include "engines/measured/model_names.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "base/bytes.h"
#include "base/csv.h"
#include "base/text.h"
#include "config/model_catalog.h"
#include "cost/catalog_text.h"
#include "engines/measured/measured_rows.h"

namespace plimsoll {
namespace {

constexpr int64_t kGptVocabulary = 50257;     // GPT-2's, Megatron's usual one
constexpr int64_t kVocabularyMultiple = 128;  // of a rank

std::string simple(std::string_view name) {
  std::string made;
  for (const char c : name)
    made += c == ' ' || c == '_' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const size_t slash = made.rfind('/');
  if (slash != std::string::npos) made.erase(0, slash + 1);
  return made;
}

void cut_ending(std::string& name, std::string_view ending) {
  if (name.size() > ending.size() && name.ends_with(ending)) name.resize(name.size() - ending.size());
}

std::optional<ModelConfig> from_table(std::string_view name) {
  static const CsvTable table = parse_csv(catalog_text("measured_models.csv"), "measured_models.csv");
  const std::vector<std::string>* best = nullptr;
  for (const auto& row : table.rows)
    if (name.starts_with(simple(row[0])) && (!best || row[0].size() > (*best)[0].size())) best = &row;
  if (!best) return std::nullopt;
  const RowCells row{&table, best};
  ModelConfig c;
  c.architecture = row["architecture"];
  if (c.architecture.starts_with("=")) {  // another name of a model of the catalogue
    const CatalogModel* model = find_catalog_model(c.architecture.substr(1));
    return model ? std::optional(parse_hf_config(model->config, model->name)) : std::nullopt;
  }
  c.layers = row.integer("layers", 0);
  c.hidden_size = row.integer("hidden", 0);
  c.intermediate_size = row.integer("ffn", 0);
  c.heads = row.integer("heads", 0);
  c.kv_heads = row.integer("kv_heads", 0);
  c.head_dim = row.integer("head_dim", 0);
  c.vocab_size = row.integer("vocab", 0);
  c.context_length = 2048;
  c.tied_embeddings = row["tied"] == "yes";
  c.attention_bias = row["bias"] != "no";
  c.attention_output_bias = c.mlp_bias = row["bias"] == "all";
  if (c.architecture == "phi") c.rope.partial_rotary_factor = 0.5;
  if (c.architecture == "gpt_neox") {
    c.rope.partial_rotary_factor = 0.25;
    c.parallel_residual = true;
  }
  if (c.architecture == "bloom") c.positions = PositionKind::alibi;
  if (c.architecture == "phi" || c.architecture == "gpt_neox" || c.architecture == "bloom") c.activation = "gelu";
  return c;
}

// A shortened model keeps the share of its dense layers, and at least one if it had any.
void shorten_mixture(ModelConfig& model, int64_t layers_before) {
  std::vector<bool>& moe = model.mixture.layers;
  if (moe.empty()) return;
  const auto dense = static_cast<int64_t>(std::count(moe.begin(), moe.end(), false));
  moe.assign(static_cast<size_t>(model.layers), true);
  if (dense == 0) return;
  const int64_t kept = std::max<int64_t>(1, (dense * model.layers + layers_before / 2) / layers_before);
  for (int64_t i = 0; i < std::min(kept, model.layers); ++i) moe[static_cast<size_t>(i)] = false;
}

}  // namespace

std::optional<ModelConfig> model_by_written_name(std::string_view written) {
  std::string name = simple(written);
  int64_t layers = 0;
  const size_t bracket = name.find("-(");
  if (bracket != std::string::npos) {
    const std::string inside = name.substr(bracket + 2);
    const size_t digits = inside.find_first_not_of("0123456789");
    if (digits != std::string::npos && digits > 0 && inside.find("layers") != std::string::npos)
      layers = parse_integer(inside.substr(0, digits)).value_or(0);
    name.resize(bracket);
  }
  for (const std::string_view ending : {"-awq", "-gptq", "-instruct", "-chat", "-base", "-hf"})
    cut_ending(name, ending);
  std::optional<ModelConfig> model;
  const CatalogModel* found = find_catalog_model(name);
  // "Mixtral 8x7B", "phi-1.5 1.3B": a size at the end may be too much.
  if (!found && name.rfind('-') != std::string::npos && name.ends_with("b"))
    found = find_catalog_model(name.substr(0, name.rfind('-')));
  if (found) model = parse_hf_config(found->config, found->name);
  else model = from_table(name);
  if (model && layers > 0 && layers <= model->layers) {
    const int64_t before = model->layers;
    model->layers = layers;
    shorten_mixture(*model, before);
    if (!model->layer_slides.empty()) model->layer_slides.resize(static_cast<size_t>(layers));
  }
  return model;
}

std::optional<ModelConfig> model_by_sizes(std::string_view notes, double parameters, int64_t layer_multiple) {
  const auto number = [&](std::string_view key) -> int64_t {
    const std::string_view text = note_value(notes, key);
    const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
    return parse_integer(text.substr(0, digits)).value_or(0);
  };
  const auto flag = [&](std::string_view key) { return note_value(notes, key) == "true"; };
  ModelConfig c;
  c.hidden_size = number("h");
  if (c.hidden_size <= 0 || c.hidden_size > (1 << 20)) return std::nullopt;
  c.architecture = flag("swiglu") ? "llama" : "megatron_gpt";
  c.vocab_size = number("vocab");
  const size_t thousand = notes.find("vocab ");
  if (c.vocab_size == 0 && thousand != std::string_view::npos) {  // "vocab 250k"
    const std::string_view text = notes.substr(thousand + 6);
    const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
    c.vocab_size = parse_integer(text.substr(0, digits)).value_or(0) * 1000;
  }
  if (c.vocab_size == 0) c.vocab_size = kGptVocabulary;
  c.vocab_size = round_up(c.vocab_size, kVocabularyMultiple);
  c.intermediate_size = number("ffn");
  if (c.intermediate_size == 0) c.intermediate_size = 4 * c.hidden_size;
  c.heads = number("a");
  if (c.heads == 0) c.heads = number("heads");
  if (c.heads == 0) c.heads = std::max<int64_t>(1, c.hidden_size / 128);
  c.kv_heads = number("kv");
  if (c.kv_heads == 0) c.kv_heads = c.heads;
  c.head_dim = c.hidden_size / c.heads;
  c.layers = number("L");
  const auto h = static_cast<double>(c.hidden_size);
  if (c.layers == 0 && parameters > 0) {
    const double left = parameters * 1e9 - static_cast<double>(c.vocab_size) * h;
    const auto multiple = static_cast<double>(std::max<int64_t>(1, layer_multiple));
    c.layers = static_cast<int64_t>(std::max(1.0, std::round(left / (12 * h * h) / multiple)) * multiple);
  }
  if (c.layers <= 0 || c.layers > 4096) return std::nullopt;
  c.tied_embeddings = !flag("untie-embeddings-and-output-weights");
  c.activation = "gelu";
  c.context_length = 2048;
  c.positions = PositionKind::rotary;
  if (const int64_t experts = number("num-experts"); experts > 0) {
    MixtureConfig& x = c.mixture;
    x.experts = experts;
    x.chosen = std::max<int64_t>(1, number("moe-router-topk"));
    x.width = number("moe-ffn-hidden-size");
    if (x.width == 0) x.width = c.intermediate_size;
    x.layers.assign(static_cast<size_t>(c.layers), true);
    const std::string_view pattern = note_value(notes, "moe-layer-freq");  // "([0]*3+[1]*11)"
    const size_t star = pattern.find("[0]*");
    if (star != std::string_view::npos) {
      const std::string_view text = pattern.substr(star + 4);
      const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
      const int64_t dense = parse_integer(text.substr(0, digits)).value_or(0);
      for (int64_t i = 0; i < std::min(dense, c.layers); ++i) x.layers[static_cast<size_t>(i)] = false;
    }
  }
  if (flag("multi-latent-attention")) c.latent = {512, 1536, 128, 64, 128};
  return c;
}

}  // namespace plimsoll
