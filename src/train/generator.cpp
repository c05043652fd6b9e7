#include <algorithm>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>

#include "arch/architecture.h"
#include "base/bytes.h"
#include "base/error.h"
#include "config/machine.h"
#include "data/chat_template.h"
#include "data/jinja/json.h"
#include "data/model_text.h"
#include "formats/text_file.h"
#include "passes/lora.h"
#include "train/generate.h"
#include "train/inference.h"
#include "train/sampler.h"
#include "train/token_batch.h"

namespace plimsoll {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kPrefill = "prefill";
constexpr const char* kDecode = "decode";
constexpr int64_t kPrefillRows = 128;    // tokens of the prompt that are computed at once
constexpr int64_t kFirstCapacity = 512;  // tokens of the first caches; doubled when a text grows out of them

double seconds_between(Clock::time_point a, Clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

// eos_token_id of generation_config.json: a chat model's end of turn often stands only there.
std::vector<int64_t> end_tokens(const ModelFiles& model) {
  std::vector<int64_t> ends = model.config.eos_token_ids;
  if (model.generation_config_json.empty()) return ends;
  const auto json = nlohmann::json::parse(read_text_file(model.generation_config_json), nullptr, false);
  if (!json.is_object() || !json.contains("eos_token_id")) return ends;
  const auto& ids = json["eos_token_id"];
  if (ids.is_number_integer()) ends.push_back(ids.get<int64_t>());
  if (ids.is_array())
    for (const auto& id : ids)
      if (id.is_number_integer()) ends.push_back(id.get<int64_t>());
  return ends;
}

// Weights and caches in one arena, for texts of up to `capacity` tokens.
struct Engine {
  std::vector<float> inv_freq;
  RunPlan plan;
  Arena arena;
  Executor prefill, decode;
  int64_t capacity;

  Engine(RunPlan planned, std::vector<float> frequencies, ThreadPool& pool, int64_t tokens)
      : inv_freq(std::move(frequencies)),
        plan(std::move(planned)),
        arena(plan.arena_bytes),
        prefill(plan.phase(kPrefill), arena, cpu_backend(), pool),
        decode(plan.phase(kDecode), arena, cpu_backend(), pool),
        capacity(tokens) {}
};

}  // namespace

struct Generator::State {
  ModelFiles model;
  AdapterSource adapter;
  Tokenizer tokenizer;
  std::optional<ChatTemplate> chat_template;
  SpecialTexts special;
  std::vector<int64_t> ends;
  DType precision;
  ThreadPool pool;
  std::unique_ptr<Engine> engine;
  std::vector<int32_t> cached;  // tokens whose keys and values are in the caches

  State(const std::string& model_name, const std::string& adapter_folder, int64_t threads, DType wanted)
      : model(open_runnable_model(model_name)),
        adapter(open_adapter_source(adapter_folder)),
        tokenizer(load_model_tokenizer(text_files_of(model))),
        ends(end_tokens(model)),
        precision(wanted),
        pool(threads_or_all(threads)) {
    if (const std::string text = read_chat_template(model); !text.empty()) chat_template.emplace(text);
    special = special_texts(text_files_of(model), &tokenizer);
    model.gguf.reset();
  }

  // Caches for `tokens` in all; growing them computes the text again.
  void reserve(int64_t tokens) {
    const int64_t limit = round_up(model.config.context_length, kPrefillRows);
    const int64_t needed = round_up(tokens, kPrefillRows) + kPrefillRows;  // the last piece of a prompt is padded
    if (engine && engine->capacity >= needed) return;
    int64_t capacity = engine ? engine->capacity : kFirstCapacity;
    while (capacity < needed) capacity *= 2;
    capacity = std::max(needed, std::min(capacity, limit + kPrefillRows));
    engine.reset();
    cached.clear();
    std::vector<float> inv_freq;
    std::vector<Graph> phases;
    for (const auto& [name, rows] : {std::pair{kPrefill, kPrefillRows}, std::pair{kDecode, int64_t{1}}}) {
      ForwardRequest request;
      request.kind = ForwardKind::generate;
      request.length = rows;
      request.cache_capacity = capacity;
      request.compute = precision;
      request.longest_sequence = tokens;
      ForwardGraph forward = build_forward(model.config, request);
      if (!adapter.modules.empty()) apply_lora(forward.graph, adapter.modules);
      forward.graph.phase = name;
      inv_freq = std::move(forward.inv_freq);
      phases.push_back(std::move(forward.graph));
    }
    engine = std::make_unique<Engine>(plan_inference(std::move(phases), model.tensors, pool.threads()),
                                      std::move(inv_freq), pool, capacity);
    load_weights(engine->plan, engine->arena, pool, model, adapter);
    for (const Executor* phase : {&engine->prefill, &engine->decode}) {
      prepare_cpu(phase->plan());
      write_inv_freq(*phase, engine->inv_freq);
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

  const Executor& prefill(std::span<const int32_t> prompt) {
    // What an earlier turn computed is still there as far as the texts agree; the last token is always run, for its
    // logits.
    const auto [mismatch, unused] = std::mismatch(cached.begin(), cached.end(), prompt.begin(), prompt.end() - 1);
    cached.resize(static_cast<size_t>(mismatch - cached.begin()));
    const Executor* last = nullptr;
    while (cached.size() < prompt.size()) {
      const size_t count = std::min(prompt.size() - cached.size(), static_cast<size_t>(kPrefillRows));
      last = &run(engine->prefill, prompt.subspan(cached.size(), count));
    }
    return *last;
  }

  GenerateReport generate(const std::vector<int32_t>& prompt, const SamplingOptions& sampling, const OnText& on_text);
};

namespace {

std::span<const float> logits_of(const Executor& phase) {
  const ValueId id = phase.plan().graph.outputs.at(0);
  return {reinterpret_cast<const float*>(phase.data(id)),
          static_cast<size_t>(phase.plan().graph.value(id).shape.elements())};
}

}  // namespace

GenerateReport Generator::State::generate(const std::vector<int32_t>& prompt, const SamplingOptions& sampling,
                                          const OnText& on_text) {
  const auto prompt_tokens = static_cast<int64_t>(prompt.size());
  const int64_t context = model.config.context_length;
  if (prompt.empty()) throw caller_error("the prompt", "has no tokens", "write at least one character");
  if (prompt_tokens >= context)
    throw caller_error("the prompt",
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
  const auto emit = [&](const std::string& piece) {
    report.text += piece;
    if (on_text && !piece.empty()) on_text(piece);
  };
  const auto start = Clock::now();
  const Executor* phase = &prefill(prompt);
  const auto prefilled = Clock::now();
  const double prefill_seconds = seconds_between(start, prefilled);
  report.prefill_tokens_per_second = static_cast<double>(prompt_tokens) / prefill_seconds;
  report.time_to_first_token_seconds = prefill_seconds;
  while (report.generated_tokens < limit) {
    const int32_t token = sampler.next(logits_of(*phase));
    report.token_ids.push_back(token);
    ++report.generated_tokens;
    if (std::find(ends.begin(), ends.end(), token) != ends.end()) break;
    emit(stream.put(token));
    if (report.generated_tokens < limit) phase = &run(engine->decode, std::span(&token, 1));
  }
  emit(stream.finish());
  const double decode_seconds = seconds_between(prefilled, Clock::now());
  if (report.generated_tokens > 1)
    report.decode_tokens_per_second = static_cast<double>(report.generated_tokens - 1) / decode_seconds;
  report.peak_resident_bytes = peak_resident_bytes();
  return report;
}

Generator::Generator(const std::string& model, const std::string& adapter, int64_t threads, DType precision)
    : state_(std::make_unique<State>(model, adapter, threads, precision)) {}

Generator::~Generator() = default;

GenerateReport Generator::complete(const std::string& prompt, const SamplingOptions& sampling, const OnText& on_text) {
  return state_->generate(state_->tokenizer.encode(prompt, true), sampling, on_text);
}

GenerateReport Generator::reply(const std::vector<ChatMessage>& conversation, const SamplingOptions& sampling,
                                const OnText& on_text) {
  if (!state_->chat_template)
    throw caller_error(state_->model.path, "has no chat template",
                       "use plimsoll generate, or a model that is made for chat");
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  for (const ChatMessage& message : conversation)
    messages.push_back({{"role", message.role}, {"content", message.content}});
  ChatRequest request;
  request.messages = jinja::from_json(messages);
  request.add_generation_prompt = true;
  if (!state_->special.bos.empty()) request.bos_token = state_->special.bos;
  if (!state_->special.eos.empty()) request.eos_token = state_->special.eos;
  // The template has written the special tokens itself.
  return state_->generate(state_->tokenizer.encode(state_->chat_template->render(request).text, false), sampling,
                          on_text);
}

}  // namespace plimsoll
