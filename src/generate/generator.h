// Text from a model and an optional adapter.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"

namespace plimsoll {

struct SamplingOptions {
  int64_t max_tokens = 256;
  double temperature = 0;  // 0: greedy
  double top_p = 1;
  int64_t top_k = 0;              // 0: all
  double min_p = 0;               // 0: all
  double repetition_penalty = 1;  // 1: none
  std::vector<std::string> stop;  // the text ends before the first of these
  int64_t seed = 0;
};

enum class Finish { end_token, stop_string, max_tokens, interrupted };
const char* name_of(Finish finish);  // "end", "stop", "length", "interrupted"

struct GenerateReport {
  std::string text;  // up to a stop string
  std::vector<int32_t> token_ids;
  Finish finish = Finish::max_tokens;
  int64_t prompt_tokens = 0, generated_tokens = 0;
  double prefill_tokens_per_second = 0, decode_tokens_per_second = 0, time_to_first_token_seconds = 0;
  int64_t kv_cache_bytes = 0;  // room for the longest text so far
  int64_t arena_bytes = 0, planned_total_bytes = 0;
  int64_t peak_resident_bytes = 0;
};

struct ChatMessage {
  std::string role, content;
};

// Pieces of text as they come, whole UTF-8 characters.
using OnText = std::function<void(std::string_view piece)>;

struct GenerationConfig;

struct GeneratorOptions {
  std::string model, adapter;
  int64_t threads = 0;           // 0: all
  DType precision = DType::f32;  // of weights and arithmetic: f32 gives a reference's tokens, bf16 half the bytes
  std::string quant = "auto";    // how weights are held (config/quant_words.h); auto: as the file packs them
  std::string cache = "auto";    // of keys and values of past tokens: fp32, bf16, f16, q8_0, q4_0; auto: as precision
  std::optional<int64_t> memory_bytes;  // the line: no text may need more, all of the process counted
};

class Generator {
 public:
  static constexpr const char* kPrompt = "the prompt";  // what errors about its length name

  explicit Generator(const GeneratorOptions& options);
  ~Generator();
  Generator(const Generator&) = delete;
  Generator& operator=(const Generator&) = delete;

  // Of the model's generation_config.json; all defaults without one.
  const GenerationConfig& defaults() const;

  // Looked at between tokens, and between pieces of a prompt: true ends the generation (Finish::interrupted).
  void set_interrupt(std::function<bool()> interrupted);

  // Both throw does_not_fit where the text with all its tokens would need more than the line.
  GenerateReport complete(const std::string& prompt, const SamplingOptions& sampling, const OnText& on_text);
  // Ends also with the token that the chat template writes behind what an assistant says.
  GenerateReport reply(const std::vector<ChatMessage>& conversation, const SamplingOptions& sampling,
                       const OnText& on_text);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace plimsoll
