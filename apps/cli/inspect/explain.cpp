#include "cli/inspect/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>

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

// A width of attention heads: q, k, v or all three.
std::optional<Side> head_side(const ModelConfig& config, std::string_view module, int64_t value) {
  const int64_t query = config.heads * config.head_dim, kv = config.kv_heads * config.head_dim;
  if (is_fused(module) && value == query + 2 * kv)
    return Side{"(heads + 2·kv)·d", fmt::format("({} + 2·{})·{}", config.heads, config.kv_heads, config.head_dim)};
  if (ends_with_any(module, {"k_proj", "v_proj"}) && value == kv)
    return Side{"kv·d", fmt::format("{}·{}", config.kv_heads, config.head_dim)};
  if (value == query) return Side{"heads·d", fmt::format("{}·{}", config.heads, config.head_dim)};
  return std::nullopt;
}

Side side_of(const ModelConfig& config, const ParameterSpec& spec, std::string_view module, int64_t value, bool head) {
  const std::string number = format_thousands(value);
  if (spec.part == ParameterPart::attention && head)
    if (const auto side = head_side(config, module, value)) return *side;
  if (value == config.vocab_size && (spec.part == ParameterPart::embedding || spec.part == ParameterPart::head))
    return {"V", number};
  if (value == config.hidden_size) return {"H", number};
  if (spec.part == ParameterPart::mlp && value == config.intermediate_size) return {"I", number};
  if (spec.part == ParameterPart::mlp && value == 2 * config.intermediate_size)
    return {"2·I", fmt::format("2·{}", format_thousands(config.intermediate_size))};
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
  if (copies > 1) line.symbols = line.numbers = fmt::format("{} × ", copies);
  for (size_t i = 0; i < sides.size(); ++i) {
    const bool inputs = matrix && i + 2 == sides.size();
    const bool head =
        spec.part == ParameterPart::attention && (matrix ? inputs == is_output(module) : !is_output(module));
    const Side side = side_of(config, spec, module, sides[i], head);
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
      if (ends_with_any(module, {"wpe", "embed_positions"})) out.positions += count;
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
  text += fmt::format("  V {} vocabulary · H {} hidden · I {} mlp · {} layers\n", format_thousands(config.vocab_size),
                      format_thousands(config.hidden_size), format_thousands(config.intermediate_size), config.layers);
  text += fmt::format("  heads {} · kv {} key-value heads · d {} wide each\n\n", config.heads, config.kv_heads,
                      config.head_dim);
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
  if (counts.active != counts.total)
    add_row(rows, 0, "used by one token", "the chosen experts alone", "", format_thousands(counts.active));
  return text + count_table(rows) + textbook_text(textbook_count(config, parameters), counts.total);
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
