#include "quantize/quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>

#include "base/bytes.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/arguments/common_arguments.h"
#include "cli/arguments/recipe_options.h"
#include "cli/commands.h"
#include "cli/text/output.h"
#include "cli/text/progress.h"

namespace plimsoll::cli {
namespace {

struct QuantizeCommandOptions {
  std::string model, out, type, double_quant = "on", symmetric = "on", clip = "absmax", rest = "bf16", method, memory;
  std::vector<std::string> calibrate, eval;
  int64_t group_size = 0, calibrate_rows = 128, eval_rows = 0, seq_len = 512, threads = 0;
  double percentile = 0.999, damping = 0.01;
  bool act_order = false, json = false;
};

template <typename T>
struct Word {
  std::string_view word;
  T value;
};

template <typename T, size_t kCount>
T choice(std::string_view flag, const std::string& text, const std::array<Word<T>, kCount>& words) {
  std::string all;
  for (const Word<T>& word : words) {
    if (word.word == text) return word.value;
    all += (all.empty() ? "" : ", ") + std::string(word.word);
  }
  throw caller_error(std::string(flag), fmt::format("'{}' is none of {}", one_line(text, 40), all),
                     "give one of these");
}

constexpr std::array<Word<bool>, 2> kOnOff = {{{"on", true}, {"off", false}}};
constexpr std::array<Word<Clipping>, 3> kClippings = {
    {{"absmax", Clipping::absmax}, {"percentile", Clipping::percentile}, {"mse", Clipping::mse}}};
constexpr std::array<Word<DType>, 3> kRest = {{{"bf16", DType::bf16}, {"f16", DType::f16}, {"f32", DType::f32}}};
constexpr std::array<Word<CalibrationMethod>, 2> kMethods = {
    {{"gptq", CalibrationMethod::gptq}, {"awq", CalibrationMethod::awq}}};

QuantizeOptions checked(const QuantizeCommandOptions& given) {
  QuantizeOptions options;
  options.model = given.model;
  options.out = given.out;
  QuantizeTypeRequest request{given.type, given.out, {}, true, true, choice("--rest", given.rest, kRest)};
  if (given.group_size > 0) request.group_size = given.group_size;
  request.double_quant = choice("--double-quant", given.double_quant, kOnOff);
  request.symmetric = choice("--symmetric", given.symmetric, kOnOff);
  options.type = find_quantize_type(request);
  options.clipping = choice("--clip", given.clip, kClippings);
  options.percentile = given.percentile;
  options.calibrate = given.calibrate;
  options.calibrate_rows = given.calibrate_rows;
  options.act_order = given.act_order;
  options.damping = given.damping;
  options.eval = given.eval;
  options.eval_rows = given.eval_rows;
  options.seq_len = given.seq_len;
  options.threads = static_cast<int>(given.threads);
  if (!given.memory.empty()) options.memory_bytes = parse_memory_line(given.memory);
  if (given.calibrate.empty() != given.method.empty())
    throw caller_error(given.method.empty() ? "--method" : "--calibrate", "is missing: each needs the other",
                       "for example --calibrate train.jsonl --method gptq");
  const bool integers =
      options.type.kind == QuantizeType::Kind::packed && options.type.packed.kind == PackedFormat::Kind::integers;
  if (!given.method.empty()) options.method = choice("--method", given.method, kMethods);
  if (!integers && options.clipping != Clipping::absmax)
    throw caller_error("--clip", fmt::format("{} has a rule of its own for its scales", options.type.name),
                       "leave it out, or choose int4 or int8");
  if (!integers && options.method != CalibrationMethod::none)
    throw caller_error("--method", fmt::format("{} is not calibrated with data", options.type.name),
                       "leave --calibrate and --method out, or choose int4 or int8");
  if (options.act_order && options.method != CalibrationMethod::gptq)
    throw caller_error("--act-order", "is an order of GPTQ", "add --method gptq, or leave it out");
  return options;
}

constexpr size_t kWorst = 10;

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

int run_quantize_command(const QuantizeCommandOptions& given) {
  QuantizeOptions options = checked(given);
  ProgressLine line;
  options.on_progress = [&line](const std::string& stage, int64_t done, int64_t of) { line.update(stage, done, of); };
  options.on_plan = [&options](int64_t before, int64_t after) {
    if (after < before) return;
    log_warning(
        fmt::format("{} will take {}, not less than the {} of the original: {} has more bits than the "
                    "original's types; a narrower --type makes it smaller",
                    one_line(options.out, 80), format_bytes(after), format_bytes(before), options.type.name));
  };
  const QuantizeReport report = run_quantize(options);
  line.finish();
  if (given.json) write_json(quantize_json(report, options.type.name));
  else write_page(quantize_text(report, options.type.name));
  return 0;
}

// Which numbers the weights become.
std::vector<Argument> format_arguments(QuantizeCommandOptions& options) {
  return {{.name = "--group-size",
           .value_name = "N",
           .help = "values that share a scale [nf4, fp4: 64; int4, int8: 128; fp8_block: tiles of 128 × 128]",
           .target = &options.group_size,
           .min = 1},
          {.name = "--double-quant",
           .value_name = "on|off",
           .help = "nf4, fp4: the scales are quantized, too [on]",
           .target = &options.double_quant},
          {.name = "--symmetric",
           .value_name = "on|off",
           .help = "int4, int8: without zero points [on]",
           .target = &options.symmetric},
          {.name = "--clip",
           .value_name = "RULE",
           .help = "int4, int8: scales from absmax, percentile, or mse, the clipping of least squared error [absmax]",
           .target = &options.clip},
          {.name = "--percentile",
           .value_name = "P",
           .help = "of --clip percentile [0.999]",
           .target = &options.percentile,
           .min = 0.5,
           .max = 1},
          {.name = "--rest",
           .value_name = "TYPE",
           .help = "folders: of what is no linear, and of scales: bf16, f16 or f32 [bf16]",
           .target = &options.rest}};
}

// What data says about the rounding, before and after.
std::vector<Argument> data_arguments(QuantizeCommandOptions& options) {
  return {{.name = "--calibrate",
           .value_name = "FILE…",
           .help = "text that shows what the linears see; with --method",
           .target = &options.calibrate},
          {.name = "--method",
           .value_name = "gptq|awq",
           .help = "int4, int8: error-compensated rounding, or activation-aware scaling",
           .target = &options.method},
          {.name = "--calibrate-rows",
           .value_name = "N",
           .help = "rows of --seq-len tokens to look at [128]",
           .target = &options.calibrate_rows,
           .min = 1,
           .max = 1 << 20},
          {.name = "--act-order",
           .value_name = "",
           .help = "gptq: the columns that matter most first",
           .target = &options.act_order},
          {.name = "--damping",
           .value_name = "SHARE",
           .help = "gptq: added to the diagonal, of its mean [0.01]",
           .target = &options.damping,
           .min = 1e-6,
           .max = 10},
          {.name = "--eval",
           .value_name = "FILE…",
           .help = "compare with the original on this text: perplexity, KL divergence, likeliest tokens",
           .target = &options.eval},
          {.name = "--eval-rows",
           .value_name = "N",
           .help = "at most so many rows of --seq-len tokens [all]",
           .target = &options.eval_rows,
           .min = 1},
          {.name = "--seq-len",
           .value_name = "N",
           .help = "tokens of a row that is read [512]",
           .target = &options.seq_len,
           .min = 2,
           .max = 1 << 20}};
}

std::vector<Argument> quantize_arguments(QuantizeCommandOptions& options) {
  std::vector<Argument> all = {
      model_argument(options.model),
      {.name = "--type",
       .value_name = "TYPE",
       .help = "of the weights. In a folder nf4, fp4, llm_int8, fp8, fp8_block, int8, int4, f32, bf16, f16; in "
               "GGUF q8_0, q6_k, q5_k_m, q4_k_m, q4_0, …",
       .target = &options.type,
       .required = true},
      {.name = "--out",
       .value_name = "TARGET",
       .help = "a .gguf file, or a folder in Hugging Face's layout; must not be there yet",
       .target = &options.out,
       .required = true}};
  for (const auto& part : {format_arguments(options), data_arguments(options)})
    all.insert(all.end(), part.begin(), part.end());
  all.insert(all.end(), {{.name = "--memory",
                          .value_name = "SIZE|auto",
                          .help = "the line: most bytes that the process may use; auto: what is free now, less a tenth",
                          .target = &options.memory},
                         {.name = "--threads",
                          .value_name = "N",
                          .help = "[all that this process may use]",
                          .target = &options.threads,
                          .min = 0,
                          .max = 1024}});
  return all;
}

}  // namespace

Command quantize_command() {
  auto options = std::make_shared<QuantizeCommandOptions>();
  return {
      .name = "quantize",
      .summary = "write a model in fewer bits, and what that costs",
      .examples = {"plimsoll quantize SmolLM2-135M-Instruct.gguf --type q4_k_m --out small.gguf --eval held_out.jsonl",
                   "plimsoll quantize model/ --type int4 --calibrate train.jsonl --method gptq --out model-int4/"},
      .arguments = quantize_arguments(*options),
      .json = &options->json,
      .run = [options] { return run_quantize_command(*options); }};
}

}  // namespace plimsoll::cli
