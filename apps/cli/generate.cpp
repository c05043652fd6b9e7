#include <fmt/format.h>

#include <memory>

#include "base/bytes.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/generation_options.h"
#include "cli/output.h"
#include "cli/recipe_options.h"
#include "config/generation_config.h"
#include "generate/generator.h"

namespace plimsoll::cli {
namespace {

struct GenerateOptions {
  GenerationOptions shared;
  std::string prompt;
  bool json = false;
};

int run_generate(const GenerateOptions& options) {
  Generator generator(options.shared.generator());
  const OnText print = options.json ? OnText() : OnText([](std::string_view piece) { write_result(piece); });
  const SamplingOptions sampling = options.shared.resolved(generator.defaults());
  const GenerateReport report = generator.complete(options.prompt, sampling, print);
  if (options.json) {
    write_json(generate_json(report));
    return 0;
  }
  write_result("\n");
  log_note(fmt::format("{} + {} tokens, first after {:.2f} s, then {:.1f} tokens/s", report.prompt_tokens,
                       report.generated_tokens, report.time_to_first_token_seconds, report.decode_tokens_per_second));
  return 0;
}

}  // namespace

std::vector<Argument> generation_arguments(GenerationOptions& options) {
  return {{.name = "MODEL",
           .value_name = "MODEL",
           .help = "Hugging Face folder, .gguf file or hub id org/name",
           .target = &options.model,
           .required = true},
          {.name = "--adapter",
           .value_name = "DIR",
           .help = "PEFT adapter to use with the model",
           .target = &options.adapter},
          {.name = "--max-tokens",
           .value_name = "N",
           .help = "most tokens to generate [256]",
           .target = &options.sampling.max_tokens,
           .min = 1,
           .max = 1 << 24},
          {.name = "--temperature",
           .value_name = "X",
           .help = "0 takes the likeliest token (greedy) [the model's, else 0]",
           .target = &options.sampling.temperature,
           .min = 0,
           .max = 100},
          {.name = "--top-p",
           .value_name = "X",
           .help = "sample from the likeliest tokens that have this probability together [the model's, else 1]",
           .target = &options.sampling.top_p,
           .min = 0,
           .max = 1},
          {.name = "--top-k",
           .value_name = "N",
           .help = "sample from the N likeliest tokens; 0: all [the model's, else 0]",
           .target = &options.sampling.top_k,
           .min = 0,
           .max = 1 << 24},
          {.name = "--min-p",
           .value_name = "X",
           .help = "leave out tokens with less than X times the highest probability; 0: none [the model's, else 0]",
           .target = &options.sampling.min_p,
           .min = 0,
           .max = 1},
          {.name = "--repetition-penalty",
           .value_name = "X",
           .help = "above 1, tokens that were there before become less likely; 1: off [the model's, else 1]",
           .target = &options.sampling.repetition_penalty,
           .min = 0.01,
           .max = 100},
          {.name = "--stop",
           .value_name = "TEXT",
           .help = "end the text before this one; may be repeated",
           .target = &options.sampling.stop},
          {.name = "--seed",
           .value_name = "N",
           .help = "seed of the sampling [0]",
           .target = &options.sampling.seed,
           .min = 0},
          {.name = "--precision",
           .value_name = "fp32|bf16",
           .help = "of weights and arithmetic: fp32 gives a reference's tokens, bf16 takes half the bytes [fp32]",
           .target = &options.precision},
          {.name = "--quant", .value_name = "TYPE", .help = kQuantHelp, .target = &options.quant},
          {.name = "--kv-cache",
           .value_name = "TYPE",
           .help = "of keys and values of past tokens: fp32, bf16, f16, q8_0 (8 bits), q4_0 (4 bits); auto: as "
                   "--precision [auto]",
           .target = &options.kv_cache},
          {.name = "--memory",
           .value_name = "SIZE|auto",
           .help = "bytes that the process may use, for example 200MiB; auto: what is free now, less a tenth; the "
                   "least is named where it does not fit",
           .target = &options.memory},
          {.name = "--threads",
           .value_name = "N",
           .help = "threads that compute; 0: all that this process may use [0]",
           .target = &options.threads,
           .min = 0,
           .max = 1024}};
}

SamplingOptions GenerationOptions::resolved(const GenerationConfig& defaults) const {
  SamplingOptions result = sampling;
  std::string from_file;
  // transformers ignores what shapes a distribution where it takes the likeliest token anyway.
  const bool samples = sampling.temperature < 0 ? defaults.do_sample : sampling.temperature > 0;
  const auto settle = [&](auto& value, auto otherwise, const auto& stated, bool applies, const char* name) {
    if (value >= 0) return;
    value = applies && stated ? static_cast<decltype(otherwise)>(*stated) : otherwise;
    if (value != otherwise) from_file += fmt::format("{}{} {}", from_file.empty() ? "" : ", ", name, value);
  };
  constexpr int64_t kTransformersTopK = 50;
  const std::optional<int64_t> top_k = defaults.do_sample ? defaults.top_k.value_or(kTransformersTopK) : defaults.top_k;
  settle(result.temperature, 0.0, std::optional(defaults.temperature.value_or(1.0)), samples, "temperature");
  settle(result.top_k, int64_t{0}, top_k, samples, "top-k");
  settle(result.top_p, 1.0, defaults.top_p, samples, "top-p");
  settle(result.min_p, 0.0, defaults.min_p, samples, "min-p");
  settle(result.repetition_penalty, 1.0, defaults.repetition_penalty, true, "repetition penalty");
  if (!from_file.empty()) log_note("sampling as generation_config.json says: " + from_file);
  return result;
}

GeneratorOptions GenerationOptions::generator() const {
  if (precision != "fp32" && precision != "bf16")
    throw caller_error("--precision", fmt::format("'{}' is not fp32 or bf16", one_line(precision, 40)),
                       "give one of these");
  GeneratorOptions result{model, adapter, threads, precision == "fp32" ? DType::f32 : DType::bf16, quant, kv_cache, {}};
  if (!memory.empty()) result.memory_bytes = parse_memory_line(memory);
  return result;
}

Json generate_json(const GenerateReport& report) {
  Json json;
  json["text"] = report.text;
  json["token_ids"] = report.token_ids;
  json["finish"] = name_of(report.finish);
  json["prompt_tokens"] = report.prompt_tokens;
  json["generated_tokens"] = report.generated_tokens;
  json["prefill_tokens_per_second"] = report.prefill_tokens_per_second;
  json["decode_tokens_per_second"] = report.decode_tokens_per_second;
  json["time_to_first_token_seconds"] = report.time_to_first_token_seconds;
  json["kv_cache_bytes"] = report.kv_cache_bytes;
  json["arena_bytes"] = report.arena_bytes;
  json["planned_total_bytes"] = report.planned_total_bytes;
  json["peak_resident_bytes"] = report.peak_resident_bytes;
  return json;
}

Command generate_command() {
  auto options = std::make_shared<GenerateOptions>();
  Command command{
      .name = "generate",
      .summary = "text that goes on from a prompt",
      .examples = {"plimsoll generate SmolLM2-135M-Instruct.gguf --prompt \"The capital of France is\" --max-tokens 16",
                   "plimsoll generate model/ --adapter run/adapter --prompt \"Once upon a time\" --temperature 0.8 "
                   "--seed 7 --json"},
      .arguments = generation_arguments(options->shared),
      .json = &options->json,
      .run = [options] { return run_generate(*options); }};
  command.arguments.insert(command.arguments.begin() + 2,
                           {.name = "--prompt",
                            .value_name = "TEXT",
                            .help = "text to go on from, taken as it is (no chat template)",
                            .target = &options->prompt,
                            .required = true});
  return command;
}

}  // namespace plimsoll::cli
