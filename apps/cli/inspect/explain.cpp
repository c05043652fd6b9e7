#include "cli/inspect/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/table.h"
#include "base/text.h"

namespace plimsoll::cli {
namespace {

// "model.layers.3.mlp.experts.7.up_proj.weight" → layer 3, name "mlp.experts.*.up_proj.weight".
struct Place {
  std::optional<int64_t> layer;
  std::string name;
};

Place place_of(const std::string& full) {
  Place place;
  for (size_t begin = 0; begin < full.size();) {
    const size_t end = std::min(full.find('.', begin), full.size());
    const std::string word = full.substr(begin, end - begin);
    const bool number = !word.empty() && word.find_first_not_of("0123456789") == std::string::npos;
    if (number && !place.layer) {
      place.layer = parse_integer(word);
      place.name.clear();
    } else {
      if (!place.name.empty()) place.name += '.';
      place.name += number ? "*" : word;
    }
    begin = end + 1;
  }
  return place;
}

bool ends_with_any(std::string_view text, std::initializer_list<std::string_view> endings) {
  return std::any_of(endings.begin(), endings.end(), [&](std::string_view e) { return text.ends_with(e); });
}

std::string_view module_of(std::string_view name) {
  for (const std::string_view ending : {".weight", ".bias"})
    if (name.ends_with(ending)) return name.substr(0, name.size() - ending.size());
  return name;
}

// What one side of a tensor is, in letters and in numbers.
struct Side {
  std::string symbol, number;
};

bool is_output(std::string_view module) {
  return ends_with_any(module, {"o_proj", "out_proj", "attn.c_proj", "attention.dense", "self_attn.dense"});
}
bool is_fused(std::string_view module) { return ends_with_any(module, {"c_attn", "query_key_value", "qkv_proj"}); }
bool is_positions(std::string_view module) { return ends_with_any(module, {"wpe", "embed_positions"}); }
bool is_down(std::string_view module) {
  return ends_with_any(module, {"down_proj", "down_proj_bias", "w2", "fc2", "mlp.c_proj", "dense_4h_to_h"});
}

// Of latent attention: ranks, and sums of the widths of a head's parts.
std::optional<Side> latent_side(const ModelConfig& config, std::string_view module, int64_t value) {
  const LatentConfig& latent = config.latent;
  if (latent.kv_rank == 0) return std::nullopt;
  const std::string number = format_thousands(value);
  if (module.find("kv_a_proj") != std::string_view::npos && value == latent.kv_rank + latent.rotary)
    return Side{"(c + r)", fmt::format("({} + {})", latent.kv_rank, latent.rotary)};
  if (module.ends_with("kv_b_proj") && value == config.heads * (latent.plain + latent.value))
    return Side{"heads·(n + v)", fmt::format("{}·({} + {})", config.heads, latent.plain, latent.value)};
  if (is_output(module) && value == config.heads * latent.value)
    return Side{"heads·v", fmt::format("{}·{}", config.heads, latent.value)};
  if (module.find("kv_") != std::string_view::npos && value == latent.kv_rank) return Side{"c", number};
  if (module.find("q_") != std::string_view::npos && value == latent.q_rank) return Side{"q", number};
  return std::nullopt;
}

// A width of attention heads: q, k, v or all three.
std::optional<Side> head_side(const ModelConfig& config, std::string_view module, int64_t value) {
  const int64_t query = config.heads * config.head_dim, kv = config.kv_heads * config.head_dim;
  if (is_fused(module) && value == query + 2 * kv)
    return Side{"(heads + 2·kv)·d", fmt::format("({} + 2·{})·{}", config.heads, config.kv_heads, config.head_dim)};
  if (ends_with_any(module, {"k_proj", "v_proj"}) && value == kv)
    return Side{"kv·d", fmt::format("{}·{}", config.kv_heads, config.head_dim)};
  if (value == query) return Side{"heads·d", fmt::format("{}·{}", config.heads, config.head_dim)};
  if (module.ends_with("sinks") && value == config.heads) return Side{"heads", format_thousands(value)};
  return std::nullopt;
}

// Inner widths of the MLP and of experts, and how many of these there are.
std::optional<Side> mlp_side(const ModelConfig& config, std::string_view module, int64_t value, bool inner) {
  const MixtureConfig& mixture = config.mixture;
  const bool expert = module.find("expert") != std::string_view::npos;
  if (mixture.experts > 0 && value == mixture.experts) return Side{"E", format_thousands(value)};
  if (!inner) return std::nullopt;
  const bool own = mixture.experts > 0 && expert && mixture.width != config.intermediate_size;
  const int64_t width = own ? mixture.width : config.intermediate_size;
  const char* letter = own ? "M" : "I";
  if (value == width) return Side{letter, format_thousands(value)};
  if (width > 0 && value % width == 0 && (value == 2 * width || value == mixture.shared * width))
    return Side{fmt::format("{}·{}", value / width, letter),
                fmt::format("{}·{}", value / width, format_thousands(width))};
  return std::nullopt;
}

// `inputs`: the side that a matrix takes, not the one that it gives.
Side side_of(const ModelConfig& config, const ParameterSpec& spec, std::string_view module, int64_t value, bool matrix,
             bool inputs) {
  const std::string number = format_thousands(value);
  if (const auto side = latent_side(config, module, value)) return *side;
  if (spec.part == ParameterPart::attention && (matrix ? inputs == is_output(module) : !is_output(module)))
    if (const auto side = head_side(config, module, value)) return *side;
  if (spec.part == ParameterPart::mlp)
    if (const auto side = mlp_side(config, module, value, matrix ? inputs == is_down(module) : !is_down(module)))
      return *side;
  if (spec.part == ParameterPart::embedding || spec.part == ParameterPart::head) {
    const bool rows = is_positions(module) && inputs;
    if (rows && value == config.context_length) return {"P", number};
    if (rows && value > config.context_length)
      return {fmt::format("(P + {})", value - config.context_length),
              fmt::format("({} + {})", format_thousands(config.context_length), value - config.context_length)};
    if (value == config.vocab_size) return {"V", number};
    if (value == config.embedding_width && value != config.hidden_size) return {"W", number};
  }
  if (spec.part == ParameterPart::norm && ends_with_any(module, {"q_norm", "k_norm"})) {  // of a head, or of all
    if (value == config.head_dim) return {"d", number};
    if (const auto side = head_side(config, module.ends_with("k_norm") ? "k_proj" : "q_proj", value)) return *side;
  }
  if (value == config.hidden_size) return {"H", number};
  if (spec.part == ParameterPart::norm && value == config.head_dim) return {"d", number};
  return {number, number};
}

// Textbooks write inputs × outputs, checkpoints hold (outputs, inputs), but for GPT-2's Conv1D.
CountLine line_of(const ModelConfig& config, const ParameterSpec& spec, const std::string& name, int64_t copies) {
  const std::string module(module_of(name));
  const bool matrix = spec.shape.rank() >= 2;
  const bool table = spec.part == ParameterPart::embedding || spec.part == ParameterPart::head;
  const bool projects = module.find("project_") != std::string::npos;
  const bool turned = spec.shape.rank() == 2 && name.ends_with(".weight") && (!table || projects);
  std::vector<int64_t> sides;
  for (int i = 0; i < spec.shape.rank(); ++i) sides.push_back(spec.shape[i]);
  if (turned && config.architecture != "gpt2") std::swap(sides[0], sides[1]);
  CountLine line{name.ends_with(".bias") ? module + " bias" : module, "", "", spec.shape.elements() * copies};
  if (copies > 1) {
    line.symbols = copies == config.mixture.experts ? "E × " : fmt::format("{} × ", copies);
    line.numbers = fmt::format("{} × ", copies);
  }
  for (size_t i = 0; i < sides.size(); ++i) {
    const bool inputs = matrix && i + 2 == sides.size();
    const Side side = side_of(config, spec, module, sides[i], matrix, inputs);
    line.symbols += (i == 0 ? "" : " × ") + side.symbol;
    line.numbers += (i == 0 ? "" : " × ") + side.number;
  }
  if (line.numbers == line.symbols || line.numbers == format_thousands(line.count)) line.numbers.clear();
  return line;
}

// The lines of tensors that follow each other, those that differ in the number of an expert alone as one.
std::vector<CountLine> lines_of(const ModelConfig& config,
                                const std::vector<std::pair<std::string, const ParameterSpec*>>& tensors) {
  std::vector<std::pair<std::string, std::pair<const ParameterSpec*, int64_t>>> kinds;
  std::map<std::string, size_t> place;
  for (const auto& [name, spec] : tensors) {
    const std::string key = name + fmt::format(" {}", spec->shape.elements());
    const auto [found, is_new] = place.emplace(key, kinds.size());
    if (is_new) kinds.push_back({name, {spec, 0}});
    ++kinds[found->second].second.second;
  }
  std::vector<CountLine> lines;
  for (const auto& [name, kind] : kinds) lines.push_back(line_of(config, *kind.first, name, kind.second));
  return lines;
}

using Tensors = std::vector<std::pair<std::string, const ParameterSpec*>>;

bool same_lines(const std::vector<CountLine>& a, const std::vector<CountLine>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const CountLine& x, const CountLine& y) {
    return x.name == y.name && x.symbols == y.symbols && x.count == y.count;
  });
}

int64_t sum_of(const std::vector<CountLine>& lines) {
  int64_t sum = 0;
  for (const CountLine& line : lines) sum += line.count;
  return sum;
}

// "0, 2 to 5"
std::string ranges_of(const std::vector<int64_t>& layers) {
  std::string text;
  for (size_t i = 0; i < layers.size();) {
    size_t last = i;
    while (last + 1 < layers.size() && layers[last + 1] == layers[last] + 1) ++last;
    text += fmt::format("{}{}", text.empty() ? "" : ", ", layers[i]);
    if (last > i) text += fmt::format("{}{}", last == i + 1 ? ", " : " to ", layers[last]);
    i = last + 1;
  }
  return text;
}

using Rows = std::vector<std::vector<std::string>>;

void add_row(Rows& rows, int indent, std::string_view name, std::string_view symbols, std::string_view numbers,
             const std::string& count) {
  rows.push_back({std::string(static_cast<size_t>(indent), ' ') + std::string(name), std::string(symbols),
                  std::string(numbers), count});
}

void add_lines(Rows& rows, int indent, const std::vector<CountLine>& lines) {
  for (const CountLine& line : lines)
    add_row(rows, indent, line.name, line.symbols, line.numbers, format_thousands(line.count));
}

std::string count_table(const Rows& rows) {
  return table_text(std::vector<Column>{{"", true}, {"", true}, {"", true}, {""}}, rows);
}

std::string textbook_text(const TextbookCount& count, int64_t total) {
  if (count.matrices.empty()) return "";
  Rows rows;
  for (const MatrixCount& matrix : count.matrices)
    add_row(rows, 2, matrix.name, matrix.formula, "", format_thousands(matrix.count));
  add_row(rows, 0, "all matrices", "", "", format_thousands(count.matrices_total));
  const auto add = [&](std::string_view name, int64_t value) {
    if (value != 0) add_row(rows, 2, name, "", "", fmt::format("{}{}", value > 0 ? "+" : "", format_thousands(value)));
  };
  add("the unembedding is the embedding", -count.tied_unembedding);
  add("positions", count.positions);
  add("projections beside the embedding", count.projections);
  add("biases", count.biases);
  add("norms", count.norms);
  add_row(rows, 0, "parameters", "", "", format_thousands(total));
  return "\n  As textbooks draw it: the weight matrices, with an unembedding of its own\n" + count_table(rows);
}

// The letters that the formulas use, each with its value and meaning, in lines of a page.
std::string letters_text(const ModelConfig& config, const CountExplanation& explained) {
  std::string formulas;
  const auto add = [&](const std::vector<CountLine>& lines) {
    for (const CountLine& line : lines) formulas += " " + line.symbols + " ";
  };
  add(explained.before);
  for (const LayerGroup& group : explained.groups) add(group.lines);
  add(explained.after);
  const auto used = [&](std::string_view letter) {
    const auto is_word = [&](size_t at) {
      return at < formulas.size() && std::isalpha(static_cast<unsigned char>(formulas[at])) != 0;
    };
    for (size_t at = formulas.find(letter); at != std::string::npos; at = formulas.find(letter, at + 1))
      if (!is_word(at - 1) && !is_word(at + letter.size())) return true;
    return false;
  };
  struct Letter {
    const char *letter, *meaning;
    int64_t value;
  };
  const MixtureConfig& mixture = config.mixture;
  const LatentConfig& latent = config.latent;
  const std::array<Letter, 15> letters = {{{"V", "vocabulary", config.vocab_size},
                                           {"W", "width of the embedding", config.embedding_width},
                                           {"H", "hidden", config.hidden_size},
                                           {"P", "positions", config.context_length},
                                           {"I", "mlp", config.intermediate_size},
                                           {"E", "experts", mixture.experts},
                                           {"M", "mlp of an expert", mixture.width},
                                           {"heads", "", config.heads},
                                           {"kv", "key-value heads", config.kv_heads},
                                           {"d", "wide each", config.head_dim},
                                           {"q", "rank of queries", latent.q_rank},
                                           {"c", "rank of keys and values", latent.kv_rank},
                                           {"n", "of a key without position", latent.plain},
                                           {"r", "with", latent.rotary},
                                           {"v", "of a value", latent.value}}};
  std::string text, line;
  const auto append = [&](const std::string& item) {
    if (!line.empty() && line.size() + item.size() > 72) text += "  " + std::exchange(line, "") + "\n";
    line += (line.empty() ? "" : " · ") + item;
  };
  for (const Letter& letter : letters)
    if (used(letter.letter))
      append(fmt::format("{} {}{}{}", letter.letter, format_thousands(letter.value), *letter.meaning == '\0' ? "" : " ",
                         letter.meaning));
  append(fmt::format("{} layers", config.layers));
  return text + "  " + line + "\n\n";
}

// Of a mixture: what one token goes through.
std::string active_text(const MixtureConfig& mixture, const ParameterCounts& counts) {
  if (counts.active == counts.total) return "";
  const int64_t idle = counts.total - counts.active, others = mixture.experts - mixture.chosen;
  const int64_t routed = idle / others * mixture.experts;
  Rows rows;
  add_row(rows, 2, "all", "", "", format_thousands(counts.total));
  add_row(rows, 2, "experts that are not chosen", "",
          fmt::format("({} − {})/{} × {}", mixture.experts, mixture.chosen, mixture.experts, format_thousands(routed)),
          "-" + format_thousands(idle));
  add_row(rows, 0, "used by one token", "", "", format_thousands(counts.active));
  return fmt::format("\n  A token goes through {} of the {} experts of a layer\n", mixture.chosen, mixture.experts) +
         count_table(rows);
}

// Where sums by hand go wrong.
std::string pitfall_text(const ModelConfig& config, const TextbookCount& textbook, int64_t total) {
  if (textbook.projections == 0 || config.embedding_width == config.hidden_size) return "";
  const int64_t wider = config.vocab_size * (config.hidden_size - config.embedding_width);
  return fmt::format(
      "\n  Done by hand it often comes out at {}. That is with an embedding\n"
      "  as wide as H: {} more than V × W, which is all there is of\n"
      "  embedding and head; and without the biases: {} fewer.\n",
      format_thousands(total + wider - textbook.biases), format_thousands(wider), format_thousands(textbook.biases));
}

}  // namespace

CountExplanation explain_count(const ModelConfig& config, const std::vector<ParameterSpec>& parameters) {
  CountExplanation out;
  Tensors before, after;
  std::map<int64_t, Tensors> layers;
  for (const ParameterSpec& spec : parameters) {
    if (count_parameters({spec}).total == 0) continue;  // stored with the weights, but none
    Place place = place_of(spec.name);
    if (place.layer) layers[*place.layer].emplace_back(std::move(place.name), &spec);
    else (layers.empty() ? before : after).emplace_back(std::move(place.name), &spec);
  }
  out.before = lines_of(config, before);
  out.after = lines_of(config, after);
  out.total = sum_of(out.before) + sum_of(out.after);
  for (const auto& [layer, tensors] : layers) {
    std::vector<CountLine> lines = lines_of(config, tensors);
    const int64_t sum = sum_of(lines);
    out.total += sum;
    const auto same = std::find_if(out.groups.begin(), out.groups.end(),
                                   [&](const LayerGroup& group) { return same_lines(group.lines, lines); });
    if (same != out.groups.end()) same->layers.push_back(layer);
    else out.groups.push_back({{layer}, std::move(lines), sum});
  }
  return out;
}

TextbookCount textbook_count(const ModelConfig& config, const std::vector<ParameterSpec>& parameters) {
  constexpr std::array<const char*, 9> kNames = {"embedding", "query", "key",  "value",      "output",
                                                 "gate",      "up",    "down", "unembedding"};
  enum Kind : size_t { embedding, query, key, value, output, gate, up, down, unembedding };
  std::array<int64_t, 9> counts{};
  TextbookCount out;
  const int64_t query_width = config.heads * config.head_dim, kv_width = config.kv_heads * config.head_dim;
  bool tied = true;
  for (const ParameterSpec& spec : parameters) {
    const std::string name = place_of(spec.name).name;
    const std::string_view module = module_of(name);
    const int64_t count = spec.shape.elements();
    if (spec.part == ParameterPart::norm) out.norms += count;
    else if (name.ends_with(".bias")) out.biases += count;
    else if (spec.shape.rank() != 2) return {};
    else if (spec.part == ParameterPart::head) tied = false, counts[unembedding] += count;
    else if (spec.part == ParameterPart::embedding) {
      if (is_positions(module)) out.positions += count;
      else if (ends_with_any(module, {"project_in", "project_out"})) out.projections += count;
      else counts[embedding] += count;
    } else if (spec.part == ParameterPart::attention) {
      if (is_fused(module)) {
        const int64_t share = count / (query_width + 2 * kv_width);
        counts[query] += share * query_width;
        counts[key] += share * kv_width;
        counts[value] += share * kv_width;
      } else if (module.ends_with("q_proj")) counts[query] += count;
      else if (module.ends_with("k_proj")) counts[key] += count;
      else if (module.ends_with("v_proj")) counts[value] += count;
      else if (is_output(module)) counts[output] += count;
      else return {};
    } else if (module.find("experts") != std::string_view::npos) return {};
    else if (module.ends_with("gate_up_proj")) counts[gate] += count / 2, counts[up] += count / 2;
    else if (module.ends_with("gate_proj")) counts[gate] += count;
    else if (ends_with_any(module, {"up_proj", "fc1", "c_fc", "dense_h_to_4h"})) counts[up] += count;
    else if (ends_with_any(module, {"down_proj", "fc2", "mlp.c_proj", "dense_4h_to_h"})) counts[down] += count;
    else return {};
  }
  if (tied) counts[unembedding] = out.tied_unembedding = counts[embedding];
  const int64_t layers = std::max<int64_t>(config.layers, 1);
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0) continue;
    const bool outside = i == embedding || i == unembedding;
    out.matrices.push_back(
        {kNames[i], outside ? "" : fmt::format("{} × {}", layers, format_thousands(counts[i] / layers)), counts[i]});
    out.matrices_total += counts[i];
  }
  return out;
}

std::string explain_text(const std::string& source, const ModelConfig& config,
                         const std::vector<ParameterSpec>& parameters, const ParameterCounts& counts) {
  const CountExplanation explained = explain_count(config, parameters);
  PLIMSOLL_CHECK(explained.total == counts.total, "the explanation adds up to another count");
  std::string text =
      fmt::format("{}\n{}, {} parameters\n\n", one_line(source), config.architecture, format_thousands(counts.total));
  text += letters_text(config, explained);
  Rows rows;
  add_lines(rows, 0, explained.before);
  for (const LayerGroup& group : explained.groups) {
    const auto layers = static_cast<int64_t>(group.layers.size());
    rows.push_back({layers == config.layers ? fmt::format("each of {} layers", layers)
                                            : fmt::format("each of {} layers: {}", layers, ranges_of(group.layers))});
    add_lines(rows, 2, group.lines);
    add_row(rows, 2, "one layer", "", "", format_thousands(group.per_layer));
    add_row(rows, 0, fmt::format("{} layers", layers), "",
            fmt::format("{} × {}", layers, format_thousands(group.per_layer)),
            format_thousands(layers * group.per_layer));
  }
  add_lines(rows, 0, explained.after);
  const bool tied = std::none_of(parameters.begin(), parameters.end(),
                                 [](const ParameterSpec& spec) { return spec.part == ParameterPart::head; });
  if (tied) add_row(rows, 0, "head", "the embedding again", "counted once", "0");
  add_row(rows, 0, "total", "", "", format_thousands(explained.total));
  const TextbookCount textbook = textbook_count(config, parameters);
  return text + count_table(rows) + active_text(config.mixture, counts) + textbook_text(textbook, counts.total) +
         pitfall_text(config, textbook, counts.total);
}

Json explain_json(const ModelConfig& config, const std::vector<ParameterSpec>& parameters) {
  const CountExplanation explained = explain_count(config, parameters);
  Json rows = Json::array();
  const auto add = [&](const std::vector<CountLine>& lines, const Json& layers) {
    for (const CountLine& line : lines)
      rows.push_back({{"name", line.name},
                      {"formula", line.symbols},
                      {"numbers", line.numbers},
                      {"count", line.count},
                      {"layers", layers}});
  };
  add(explained.before, nullptr);
  for (const LayerGroup& group : explained.groups) add(group.lines, group.layers);
  add(explained.after, nullptr);
  return rows;
}

}  // namespace plimsoll::cli
