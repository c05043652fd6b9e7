#include "cli/inspect/inspect_report.h"

#include <fmt/format.h>

#include <array>

#include "base/bytes.h"
#include "base/text.h"

namespace plimsoll::cli {
namespace {

struct NamedBits {
  const char* name;
  int bits;
};
constexpr std::array<NamedBits, 5> kTypes = {{{"fp32", 32}, {"fp16", 16}, {"bf16", 16}, {"int8", 8}, {"int4", 4}}};

int64_t bytes_at(int64_t values, int bits) { return values / 8 * bits + ceil_div(values % 8 * bits, 8); }

// One token's keys and values over all layers; of latent attention what they are made from.
int64_t kv_values_per_token(const ModelConfig& config) {
  if (config.latent.kv_rank > 0) return config.layers * (config.latent.kv_rank + config.latent.rotary);
  return 2 * config.layers * config.kv_heads * config.head_dim;
}

std::string attention_kind(const ModelConfig& config) {
  if (config.kv_heads == config.heads) return "each with its own keys and values";
  return fmt::format("{} key-value heads", config.kv_heads);
}

}  // namespace

ParameterCounts count_parameters(const std::vector<ParameterSpec>& parameters) {
  ParameterCounts counts;
  for (const ParameterSpec& parameter : parameters) {
    const int64_t count = parameter.shape.elements();
    if (parameter.part == ParameterPart::buffer) continue;
    counts.total += count;
    counts.active += parameter.active < 0 ? count : parameter.active;
    switch (parameter.part) {
      case ParameterPart::embedding:
        counts.embedding += count;
        break;
      case ParameterPart::attention:
        counts.attention += count;
        break;
      case ParameterPart::mlp:
        counts.mlp += count;
        break;
      case ParameterPart::norm:
        counts.norm += count;
        break;
      case ParameterPart::head:
        counts.head += count;
        break;
      case ParameterPart::buffer:
        break;
    }
  }
  return counts;
}

Json inspect_json(const InspectReport& report) {
  const ModelConfig& config = report.config;
  const ParameterCounts& params = report.params;
  Json json;
  json["architecture"] = config.architecture;
  json["params"] = {{"total", params.total},         {"active", params.active}, {"embedding", params.embedding},
                    {"attention", params.attention}, {"mlp", params.mlp},       {"norm", params.norm},
                    {"head", params.head},           {"other", params.other}};
  json["bytes"]["stored"] = report.stored_bytes;
  for (const NamedBits& type : kTypes) json["bytes"][type.name] = bytes_at(params.total, type.bits);
  for (const NamedBits& type : kTypes)
    if (type.bits >= 8) json["kv_bytes_per_token"][type.name] = bytes_at(kv_values_per_token(config), type.bits);
  json["layers"] = config.layers;
  json["hidden_size"] = config.hidden_size;
  json["intermediate_size"] = config.intermediate_size;
  json["heads"] = config.heads;
  json["kv_heads"] = config.kv_heads;
  json["head_dim"] = config.head_dim;
  json["vocab_size"] = config.vocab_size;
  json["context_length"] = config.context_length;
  json["sliding_window"] = config.layer_slides.empty() ? 0 : config.sliding_window;
  json["tied_embeddings"] = config.tied_embeddings;
  json["stored_dtypes"] = report.stored_dtypes;
  json["tokenizer"] = nullptr;
  if (report.tokenizer)
    json["tokenizer"] = {{"tokens", report.tokenizer->tokens},
                         {"bos", report.tokenizer->bos},
                         {"eos", report.tokenizer->eos},
                         {"chat_template", report.tokenizer->chat_template}};
  return json;
}

std::string inspect_text(const InspectReport& report, const Terminal& terminal) {
  const ModelConfig& config = report.config;
  const ParameterCounts& params = report.params;
  std::string text =
      fmt::format("{}\n{}, {} parameters, context {} tokens\n\n", one_line(report.source), config.architecture,
                  format_thousands(params.total), format_thousands(config.context_length));
  text += fmt::format("  {} layers, hidden {}, mlp {}, {} heads of {} ({}), vocabulary {}{}\n", config.layers,
                      format_thousands(config.hidden_size), format_thousands(config.intermediate_size), config.heads,
                      config.head_dim, attention_kind(config), format_thousands(config.vocab_size),
                      config.tied_embeddings ? ", head tied to the embedding" : "");
  if (!config.layer_slides.empty())
    text += fmt::format("  sliding attention over {} tokens\n", format_thousands(config.sliding_window));

  if (config.mixture.experts > 0)
    text += fmt::format("  {} experts, {} of them chosen for a token{}: {} parameters active\n", config.mixture.experts,
                        config.mixture.chosen,
                        config.mixture.shared > 0 ? fmt::format(" beside {} shared", config.mixture.shared) : "",
                        format_thousands(params.active));
  text += fmt::format("\n  {:<12}{:>20}{:>10}\n", "part", "parameters", "share");
  const std::array<std::pair<const char*, int64_t>, 6> parts = {{{"embedding", params.embedding},
                                                                 {"attention", params.attention},
                                                                 {"mlp", params.mlp},
                                                                 {"norm", params.norm},
                                                                 {"head", params.head},
                                                                 {"other", params.other}}};
  for (const auto& [name, count] : parts) {
    if (count == 0) continue;
    const double share = static_cast<double>(count) / static_cast<double>(params.total);
    text += fmt::format("  {:<12}{:>20}{:>8.1f} %  {}\n", name, format_thousands(count), 100 * share,
                        bar(share, 30, terminal));
  }
  text += fmt::format("\n  {:<12}", "bytes");
  if (report.has_weights)
    text += fmt::format("stored {} ({})", format_bytes(report.stored_bytes), report.stored_dtypes);
  else if (report.from_catalog) text += "no weights here";
  else
    text += fmt::format("no weights here; {} in its own {}", format_bytes(report.stored_bytes), report.stored_dtypes);
  for (const NamedBits& type : kTypes)
    text += fmt::format(" · {} {}", type.name, format_bytes(bytes_at(params.total, type.bits)));
  text += fmt::format("\n  {:<12}", "KV cache");
  for (const NamedBits& type : kTypes)
    if (type.bits >= 8 && type.bits != 32)
      text += fmt::format("{}{} {} bytes a token", type.bits == 16 && type.name[0] == 'f' ? "" : " · ", type.name,
                          format_thousands(bytes_at(kv_values_per_token(config), type.bits)));
  text += fmt::format(" · {} for the whole context in bf16\n",
                      format_bytes(bytes_at(kv_values_per_token(config), 16) * config.context_length));
  if (report.tokenizer) {
    text += fmt::format("  {:<12}{} tokens", "tokenizer", format_thousands(report.tokenizer->tokens));
    if (!report.tokenizer->bos.empty()) text += fmt::format(", begins with {}", one_line(report.tokenizer->bos, 40));
    if (!report.tokenizer->eos.empty()) text += fmt::format(", ends with {}", one_line(report.tokenizer->eos, 40));
    text += report.tokenizer->chat_template ? ", has a chat template\n" : ", no chat template\n";
  } else {
    text += fmt::format("  {:<12}none here\n", "tokenizer");
  }
  return text;
}

}  // namespace plimsoll::cli
