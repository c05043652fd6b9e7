#include "generate/generator.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <numeric>

#include "arch/architecture.h"
#include "backend/cpu/attention/kv_cache.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "config/generation_config.h"
#include "config/machine.h"
#include "data/chat_template.h"
#include "data/model_text.h"
#include "formats/text_file.h"
#include "generate/sampler.h"
#include "generate/stop_strings.h"
#include "passes/lora.h"
#include "setup/inference.h"
#include "setup/packed_formats.h"
#include "setup/run_sources.h"
#include "setup/token_batch.h"

namespace plimsoll {
namespace {

using Clock = std::chrono::steady_clock;

// Graphs by how many tokens they compute at once: pieces of a long prompt, of a short one or the end of a long one, and
// one token after the other. A piece that is not full costs as much as one that is.
struct Pass {
  const char* name;
  int64_t rows;
};
constexpr std::array<Pass, 3> kPasses = {{{"prefill", 256}, {"prefill_short", 32}, {"decode", 1}}};
constexpr int64_t kMostPadding = 128;  // rows of a pass behind the text's last token, see pass_for
size_t pass_for(int64_t tokens) { return tokens > 128 ? 0 : tokens > 3 ? 1 : 2; }

constexpr int64_t kOfTraining = 8 * kMiB;  // of what a process needs beside its arena: rows, kernels of gradients
constexpr int64_t kFirstCapacity = 256;    // tokens of the first caches; doubled when a text grows out of them

double seconds_between(Clock::time_point a, Clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

// What ends a text: config.json, the metadata of a GGUF file, generation_config.json (a chat model's end of turn often
// stands only there), and the tokenizer's own.
std::vector<int64_t> end_tokens(const ModelFiles& model, const Tokenizer& tokenizer,
                                const GenerationConfig& generation) {
  std::vector<int64_t> ends = model.config.eos_token_ids;
  ends.insert(ends.end(), generation.eos_token_ids.begin(), generation.eos_token_ids.end());
  if (const int32_t eos = tokenizer.special_ids().eos; eos >= 0) ends.push_back(eos);
  return ends;
}

GenerationConfig generation_config_of(const ModelFiles& model) {
  if (model.generation_config_json.empty()) return {};
  return parse_generation_config(read_text_file(model.generation_config_json), model.generation_config_json);
}

// What weights, arithmetic and caches are.
struct Held {
  DType precision, cache;
  PackedFormats packed;
};

bool fits_cache(DType type, const ModelConfig& config) {
  const int block = dtype_info(type).block_elements;
  const int64_t values = config.latent.value > 0 ? config.latent.value : config.head_dim;
  return config.head_dim % block == 0 && values % block == 0;
}

// A caller Error for a word that is none, and for blocks that a head of this model cannot be cut into.
DType choose_cache_type(const std::string& word, DType precision, const ModelConfig& config) {
  if (word == "auto") return precision;
  const std::optional<DType> type = dtype_from_name(word == "fp32" ? "f32" : word == "fp16" ? "f16" : word);
  if (!type || !cpu::can_cache(*type))
    throw caller_error("--kv-cache", "\"" + one_line(word, 40) + "\" is no type of a cache",
                       "use auto, fp32, bf16, f16, q8_0 or q4_0");
  if (!fits_cache(*type, config))
    throw caller_error("--kv-cache " + word,
                       "packs " + std::to_string(dtype_info(*type).block_elements) +
                           " values, heads of this model have " + std::to_string(config.head_dim),
                       "use f16");
  return *type;
}

// Weights and caches in one arena, for texts of up to `capacity` tokens.
struct Engine {
  std::vector<float> inv_freq;
  RunPlan plan;
  Arena arena;
  std::vector<Executor> passes;  // as kPasses
  int64_t capacity;

  Engine(RunPlan planned, std::vector<float> frequencies, ThreadPool& pool, int64_t tokens)
      : inv_freq(std::move(frequencies)), plan(std::move(planned)), arena(plan.arena_bytes), capacity(tokens) {
    for (const Pass& pass : kPasses) passes.emplace_back(plan.phase(pass.name), arena, cpu_backend(), pool);
  }
};

}  // namespace

struct Generator::State {
  ModelFiles model;
  AdapterSource adapter;
  Tokenizer tokenizer;
  std::optional<ChatTemplate> chat_template;
  SpecialTexts special;
  GenerationConfig generation;
  std::vector<int64_t> ends;
  Held held;
  ThreadPool pool;
  std::unique_ptr<Engine> engine;
  std::function<bool()> interrupted = [] { return false; };
  std::vector<int32_t> cached;  // tokens whose keys and values are in the caches

  std::optional<int64_t> line;

  explicit State(const GeneratorOptions& options)
      : model(open_runnable_model(options.model)),
        adapter(open_adapter_source(options.adapter)),
        tokenizer(load_model_tokenizer(text_files_of(model))),
        generation(generation_config_of(model)),
        ends(end_tokens(model, tokenizer, generation)),
        held{options.precision, choose_cache_type(options.cache, options.precision, model.config),
             choose_packed_formats(options.quant, PackedDefault::none, model.tensors, options.precision)},
        pool(threads_or_all(options.threads)),
        line(options.memory_bytes) {
    const TextFiles files = text_files_of(model);
    if (const auto found = find_chat_template(files)) chat_template.emplace(found->text, found->name);
    special = special_texts(files, &tokenizer);
    model.gguf.reset();
  }

  // The passes for texts of `tokens` tokens, with caches for `capacity`.
  RunPlan plan_passes(const Held& how, int64_t tokens, int64_t capacity, std::vector<float>& inv_freq) const {
    std::vector<Graph> phases;
    std::vector<DoraNorm> norms;
    for (const auto& [name, rows] : kPasses) {
      ForwardRequest request;
      request.kind = ForwardKind::generate;
      request.length = rows;
      request.cache_capacity = capacity;
      request.compute = how.precision;
      request.cache = how.cache;
      request.longest_sequence = tokens;
      ForwardGraph forward = build_forward(model.config, request);
      quantize(forward.graph, how.packed);
      if (!adapter.modules.empty()) apply_lora(forward.graph, adapter.modules, &norms);
      forward.graph.phase = name;
      inv_freq = std::move(forward.inv_freq);
      phases.push_back(std::move(forward.graph));
    }
    return plan_inference(std::move(phases), model.tensors, pool.threads(), norms);
  }

  int64_t total_bytes(const RunPlan& plan) const {
    return plan.arena_bytes + runtime_overhead_bytes(model.config, pool.threads(), {}) - kOfTraining;
  }

  // Single changes that need less than `now`: "; --kv-cache q8_0 needs 140 MiB".
  std::string cheaper_ways(int64_t now, int64_t tokens, int64_t capacity) const {
    std::string text;
    const auto offer = [&](std::string_view change, const Held& how) {
      std::vector<float> unused;
      const int64_t bytes = total_bytes(plan_passes(how, tokens, capacity, unused));
      if (bytes < now) text += fmt::format("; {} needs {}", change, format_bytes(bytes));
    };
    Held how = held;
    how.cache = DType::q8_0;
    if (!is_block_type(held.cache) && fits_cache(DType::q8_0, model.config)) offer("--kv-cache q8_0", how);
    how = held;
    how.precision = DType::bf16;
    if (held.cache == held.precision) how.cache = DType::bf16;
    if (held.precision == DType::f32) offer("--precision bf16", how);
    how = held;
    how.packed.linears = DType::nf4;
    if (held.packed.none()) offer("--quant nf4", how);
    return text;
  }

  // Caches for `tokens` in all; growing them computes the text again. Below a line they grow no further than they must.
  void reserve(int64_t tokens) {
    const int64_t limit = std::max(round_up(model.config.context_length + kMostPadding, 64), kPasses[0].rows);
    const int64_t needed = std::max(round_up(tokens + kMostPadding, 64), kPasses[0].rows);
    if (engine && engine->capacity >= needed) return;
    int64_t capacity = engine ? engine->capacity : kFirstCapacity;
    while (capacity < needed) capacity *= 2;
    capacity = std::max(needed, std::min(capacity, limit));
    std::vector<float> inv_freq;
    RunPlan plan = plan_passes(held, tokens, capacity, inv_freq);
    if (line && total_bytes(plan) > *line && capacity > needed) {
      capacity = needed;
      plan = plan_passes(held, tokens, capacity, inv_freq);
    }
    if (line && total_bytes(plan) > *line)
      throw Error(ErrorKind::does_not_fit, "--memory",
                  fmt::format("{} needed for a text of {} tokens, the line is at {}", format_bytes(total_bytes(plan)),
                              tokens, format_bytes(*line)),
                  fmt::format("--memory {} is the least that works{}", total_bytes(plan),
                              cheaper_ways(total_bytes(plan), tokens, capacity)));
    engine.reset();
    cached.clear();
    engine = std::make_unique<Engine>(std::move(plan), std::move(inv_freq), pool, capacity);
    load_weights(engine->plan, engine->arena, pool, model, adapter);
    for (const Executor& pass : engine->passes) {
      prepare_cpu(pass.plan());
      write_inv_freq(pass, engine->inv_freq);
    }
  }

  // Runs `tokens` behind what is cached; the logits of the last one stay in the phase's output.
  const Executor& run(const Executor& phase, std::span<const int32_t> tokens) {
    const auto rows =
        static_cast<size_t>(phase.plan().graph.value(phase.plan().graph.find(input_names::kIds)).shape[0]);
    std::vector<int32_t> ids(rows, 0);
    std::vector<int32_t> positions(rows);
    std::copy(tokens.begin(), tokens.end(), ids.begin());
    std::iota(positions.begin(), positions.end(), static_cast<int32_t>(cached.size()));
    // Rows behind the last token are padding, whose positions may be beyond those that a model has learned.
    std::fill(positions.begin() + static_cast<std::ptrdiff_t>(tokens.size()), positions.end(), 0);
    write_input(phase, input_names::kIds, ids);
    write_input(phase, input_names::kPositions, positions);
    RunState state;
    state.past_length = static_cast<int64_t>(cached.size());
    state.row = static_cast<int64_t>(tokens.size()) - 1;
    phase.run(state);
    cached.insert(cached.end(), tokens.begin(), tokens.end());
    return phase;
  }

  // nullptr: interrupted.
  const Executor* prefill(std::span<const int32_t> prompt) {
    // What an earlier turn computed is still there as far as the texts agree; the last token is always run, for its
    // logits.
    const auto [mismatch, unused] = std::mismatch(cached.begin(), cached.end(), prompt.begin(), prompt.end() - 1);
    cached.resize(static_cast<size_t>(mismatch - cached.begin()));
    const Executor* last = nullptr;
    while (cached.size() < prompt.size() && !interrupted()) {
      const auto left = static_cast<int64_t>(prompt.size() - cached.size());
      const size_t pass = pass_for(left);
      const int64_t count = std::min(left, kPasses[pass].rows);
      last = &run(engine->passes[pass], prompt.subspan(cached.size(), static_cast<size_t>(count)));
    }
    return cached.size() == prompt.size() ? last : nullptr;
  }

  ChatRequest request_for(const std::vector<ChatMessage>& conversation, bool generation_prompt) const;
  std::optional<int32_t> end_of_turn() const;
  GenerateReport generate(const std::vector<int32_t>& prompt, const std::vector<int64_t>& until,
                          const SamplingOptions& sampling, const OnText& on_text);
};

namespace {

std::span<const float> logits_of(const Executor& phase) {
  const ValueId id = phase.plan().graph.outputs.at(0);
  return {reinterpret_cast<const float*>(phase.data(id)),
          static_cast<size_t>(phase.plan().graph.value(id).shape.elements())};
}

}  // namespace

const char* name_of(Finish finish) {
  switch (finish) {
    case Finish::end_token:
      return "end";
    case Finish::stop_string:
      return "stop";
    case Finish::max_tokens:
      return "length";
    case Finish::interrupted:
      break;
  }
  return "interrupted";
}

GenerateReport Generator::State::generate(const std::vector<int32_t>& prompt, const std::vector<int64_t>& until,
                                          const SamplingOptions& sampling, const OnText& on_text) {
  const auto prompt_tokens = static_cast<int64_t>(prompt.size());
  const int64_t context = model.config.context_length;
  if (prompt.empty()) throw caller_error(kPrompt, "has no tokens", "write at least one character");
  if (prompt_tokens >= context)
    throw caller_error(kPrompt,
                       "has " + std::to_string(prompt_tokens) + " tokens, the model reads " + std::to_string(context),
                       "shorten it");
  for (const int32_t id : prompt)
    if (id < 0 || id >= model.config.vocab_size)
      throw caller_error(
          "the tokenizer",
          "gives token " + std::to_string(id) + ", the model knows 0 to " + std::to_string(model.config.vocab_size - 1),
          "use the tokenizer that belongs to this model");
  const int64_t limit = std::min(sampling.max_tokens, context - prompt_tokens);
  reserve(prompt_tokens + limit);

  GenerateReport report;
  report.prompt_tokens = prompt_tokens;
  Sampler sampler(sampling);
  StreamDecoder stream(tokenizer, true);
  StopStrings stops(sampling.stop);
  std::vector<int32_t> all = prompt;
  const auto emit = [&](const std::string& piece) {
    report.text += piece;
    if (on_text && !piece.empty()) on_text(piece);
  };
  const auto start = Clock::now();
  const Executor* phase = prefill(prompt);
  const auto prefilled = Clock::now();
  const double prefill_seconds = seconds_between(start, prefilled);
  report.prefill_tokens_per_second = static_cast<double>(prompt_tokens) / prefill_seconds;
  report.time_to_first_token_seconds = prefill_seconds;
  if (phase == nullptr) report.finish = Finish::interrupted;
  while (phase != nullptr && report.generated_tokens < limit) {
    const int32_t token = sampler.next(logits_of(*phase), all);
    report.token_ids.push_back(token);
    all.push_back(token);
    ++report.generated_tokens;
    if (std::find(until.begin(), until.end(), token) != until.end()) report.finish = Finish::end_token;
    else emit(stops.put(stream.put(token)));
    if (stops.found()) report.finish = Finish::stop_string;
    else if (report.finish == Finish::max_tokens && interrupted()) report.finish = Finish::interrupted;
    if (report.finish != Finish::max_tokens) break;
    if (report.generated_tokens < limit) phase = &run(engine->passes.back(), std::span(&token, 1));
  }
  emit(stops.put(stream.finish()));
  emit(stops.finish());
  const double decode_seconds = seconds_between(prefilled, Clock::now());
  if (report.generated_tokens > 1)
    report.decode_tokens_per_second = static_cast<double>(report.generated_tokens - 1) / decode_seconds;
  for (const Value& value : engine->passes.back().plan().graph.values)
    if (value.kind == ValueKind::cache) report.kv_cache_bytes += value.bytes();
  report.arena_bytes = engine->plan.arena_bytes;
  report.planned_total_bytes = total_bytes(engine->plan);
  report.peak_resident_bytes = peak_resident_bytes();
  return report;
}

ChatRequest Generator::State::request_for(const std::vector<ChatMessage>& conversation, bool generation_prompt) const {
  using jinja::Value;
  std::vector<Value> messages;
  try {
    for (const auto& [role, content] : conversation)
      messages.push_back(Value::dict(
          {{Value::string("role"), Value::string(role)}, {Value::string("content"), Value::string(content)}}));
  } catch (const jinja::Failure& failure) {
    throw caller_error(kPrompt, failure.what(), "shorten it");
  }
  ChatRequest request;
  request.messages = Value::list(std::move(messages));
  request.add_generation_prompt = generation_prompt;
  if (!special.bos.empty()) request.bos_token = special.bos;
  if (!special.eos.empty()) request.eos_token = special.eos;
  return request;
}

// The special token that the template writes right behind an answer: models whose files name no other end are asked by
// their own template.
std::optional<int32_t> Generator::State::end_of_turn() const {
  constexpr std::string_view kAnswer = "Plimsoll-4711";
  std::string text;
  try {
    text = chat_template->render(request_for({{"user", "?"}, {"assistant", std::string(kAnswer)}}, false)).text;
  } catch (const Error&) {
    return std::nullopt;  // a template with other roles; what it refuses shows with the real conversation
  }
  const size_t answer = text.rfind(kAnswer);
  if (answer == std::string::npos) return std::nullopt;
  const std::vector<int32_t> behind = tokenizer.encode(text.substr(answer + kAnswer.size()), false);
  if (behind.empty() || !tokenizer.is_special(behind.front())) return std::nullopt;
  return behind.front();
}

Generator::Generator(const GeneratorOptions& options) : state_(std::make_unique<State>(options)) {}

Generator::~Generator() = default;

const GenerationConfig& Generator::defaults() const { return state_->generation; }

void Generator::set_interrupt(std::function<bool()> interrupted) { state_->interrupted = std::move(interrupted); }

GenerateReport Generator::complete(const std::string& prompt, const SamplingOptions& sampling, const OnText& on_text) {
  return state_->generate(state_->tokenizer.encode(prompt, true), state_->ends, sampling, on_text);
}

GenerateReport Generator::reply(const std::vector<ChatMessage>& conversation, const SamplingOptions& sampling,
                                const OnText& on_text) {
  if (!state_->chat_template)
    throw caller_error(state_->model.path, "has no chat template",
                       "use plimsoll generate, or a model that is made for chat");
  std::vector<int64_t> until = state_->ends;
  if (const std::optional<int32_t> end = state_->end_of_turn()) until.push_back(*end);
  // The template has written the special tokens itself.
  const std::string text = state_->chat_template->render(state_->request_for(conversation, true)).text;
  return state_->generate(state_->tokenizer.encode(text, false), until, sampling, on_text);
}

}  // namespace plimsoll
