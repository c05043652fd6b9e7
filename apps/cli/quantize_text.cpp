#include "cli/quantize_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/text.h"

namespace plimsoll::cli {
namespace {

constexpr size_t kWorst = 10;

}  // namespace

Json quantize_json(const QuantizeReport& report, const std::string& type) {
  Json json;
  json["output"] = report.output;
  json["type"] = type;
  json["parameters"] = report.parameters;
  json["bytes_before"] = report.bytes_before;
  json["bytes_after"] = report.bytes_after;
  json["bits_per_weight"] = report.bits_per_weight();
  Json worst = Json::array();
  for (const QuantizedTensor& tensor : report.worst(kWorst))
    worst.push_back({{"name", tensor.name}, {"type", tensor.type}, {"relative_error", tensor.relative_error}});
  json["worst"] = std::move(worst);
  Json tensors = Json::array();
  for (const QuantizedTensor& tensor : report.tensors)
    tensors.push_back({{"name", tensor.name},
                       {"type", tensor.type},
                       {"elements", tensor.elements},
                       {"bytes", tensor.bytes},
                       {"relative_error", tensor.relative_error}});
  json["tensors"] = std::move(tensors);
  if (const auto& comparison = report.comparison) {
    json["eval"] = {{"tokens", comparison->tokens},
                    {"perplexity", comparison->perplexity},
                    {"original_perplexity", comparison->original_perplexity},
                    {"kl_divergence", comparison->kl_divergence},
                    {"top1_agreement", comparison->top1_agreement}};
  }
  json["peak_resident_bytes"] = report.peak_resident_bytes;
  json["seconds"] = report.seconds;
  return json;
}

std::string quantize_text(const QuantizeReport& report, const std::string& type) {
  std::string text = fmt::format("{}: {}, {} parameters\n{} → {}, {:.2f} bits a weight\n", report.output, type,
                                 format_thousands(report.parameters), format_bytes(report.bytes_before),
                                 format_bytes(report.bytes_after), report.bits_per_weight());
  const std::vector<QuantizedTensor> worst = report.worst(kWorst);
  if (!worst.empty() && worst.front().relative_error > 0) {
    size_t width = 0;
    for (const QuantizedTensor& tensor : worst) width = std::max(width, tensor.name.size());
    text += "\n  off by most, relative to its own size\n";
    for (const QuantizedTensor& tensor : worst)
      text += fmt::format("  {:<{}}  {:<9} {:8.4f} %\n", tensor.name, width, tensor.type, 100 * tensor.relative_error);
  }
  if (const auto& comparison = report.comparison)
    text += fmt::format(
        "\n  on {} tokens: perplexity {:.3f}, {:+.2f} % of the original's {:.3f}\n"
        "  KL divergence {:.5f} nats, same likeliest token {:.2f} %\n",
        format_thousands(comparison->tokens), comparison->perplexity,
        100 * (comparison->perplexity / comparison->original_perplexity - 1), comparison->original_perplexity,
        comparison->kl_divergence, 100 * comparison->top1_agreement);
  return text;
}

}  // namespace plimsoll::cli
