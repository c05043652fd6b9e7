#include "formats/gguf/gguf_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>
#include <set>

#include "base/error.h"
#include "formats/gguf/gguf_families.h"
#include "formats/gguf/gguf_names.h"
#include "formats/gguf/gguf_rms_families.h"
#include "formats/number_conversion.h"

namespace plimsoll {
namespace {

// The metadata of one architecture, with errors that name the key.
class Keys {
 public:
  Keys(const GgufFile& gguf, std::string architecture, std::string_view source)
      : gguf_(gguf), architecture_(std::move(architecture)), source_(source) {}

  [[noreturn]] void fail(const std::string& problem, const std::string& way_out) const {
    throw caller_error(source_, problem, way_out);
  }

  const GgufValue* find(std::string_view key) const { return gguf_.find(architecture_ + "." + std::string(key)); }

  std::optional<int64_t> integer(std::string_view key, int64_t least, int64_t most) const {
    const GgufValue* value = find(key);
    if (value == nullptr) return std::nullopt;
    std::optional<int64_t> number = value->integer();
    // Some converters write one number per layer, all equal.
    if (const GgufArray* array = value->array(); array != nullptr && array->count > 0 && !array->numbers.empty()) {
      number = array->integer(0);
      for (int64_t i = 1; i < array->count; ++i) {
        if (array->integer(i) != *number) {
          fail(fmt::format("{}.{} differs between layers", architecture_, key),
               "use a model whose layers are all alike");
        }
      }
    }
    if (!number || *number < least || *number > most) {
      fail(fmt::format("{}.{} is not an integer from {} to {}", architecture_, key, least, most),
           "convert the model again");
    }
    return number;
  }

  int64_t required(std::string_view key, int64_t most) const {
    const std::optional<int64_t> value = integer(key, 1, most);
    if (!value) fail(fmt::format("{}.{} is missing", architecture_, key), "convert the model again");
    return *value;
  }

  std::optional<double> number(std::string_view key, double least, double most) const {
    const GgufValue* value = find(key);
    if (value == nullptr) return std::nullopt;
    const std::optional<double> number = value->number();
    if (!number || !(*number >= least && *number <= most)) {
      fail(fmt::format("{}.{} is not a number from {} to {}", architecture_, key, least, most),
           "convert the model again");
    }
    if (value->type != GgufType::f32) return number;
    // The shortest decimal that gives this float is what the writer meant: 1e-05, not 9.999999747378752e-06.
    std::array<char, 32> text;
    const auto [end, status] = std::to_chars(text.data(), text.data() + text.size(), static_cast<float>(*number));
    double shortest = *number;
    std::from_chars(text.data(), end, shortest);
    return shortest;
  }

 private:
  const GgufFile& gguf_;
  std::string architecture_, source_;
};

std::vector<double> read_divisors(const GgufFile& gguf, const ReadAt& read, std::string_view name, int64_t frequencies,
                                  const Keys& keys) {
  const GgufTensor* tensor = gguf.find_tensor(name);
  if (tensor == nullptr) return {};
  if (tensor->dtype != DType::f32 || tensor->shape != Shape{frequencies}) {
    keys.fail(fmt::format("tensor {} is not F32 of shape ({})", name, frequencies), "convert the model again");
  }
  std::vector<float> values(static_cast<size_t>(frequencies));
  read(tensor->offset, std::as_writable_bytes(std::span(values)));
  for (const float value : values) {
    if (!(value > 0 && std::isfinite(value)))
      keys.fail(fmt::format("tensor {} holds {}", name, value), "convert the model again");
  }
  return {values.begin(), values.end()};
}

RopeConfig read_rope(const GgufFile& gguf, const ReadAt& read, const Keys& keys, const ModelConfig& config) {
  RopeConfig rope;
  rope.theta = keys.number("rope.freq_base", 1.0, 1e15).value_or(10000.0);
  const int64_t rotary_dim = keys.integer("rope.dimension_count", 2, config.head_dim).value_or(config.head_dim);
  rope.partial_rotary_factor = static_cast<double>(rotary_dim) / static_cast<double>(config.head_dim);
  rope.frequency_divisors = read_divisors(gguf, read, "rope_freqs.weight", rotary_dim / 2, keys);

  const GgufValue* type_value = keys.find("rope.scaling.type");
  const std::string type = type_value != nullptr && type_value->text() != nullptr ? *type_value->text() : "";
  std::optional<double> factor = keys.number("rope.scaling.factor", 0.0, 1e9);
  if (!factor || *factor == 0.0) factor = keys.number("rope.scale_linear", 1e-6, 1e9);  // the name of old files
  constexpr double kMax = 1e9;
  if (type == "yarn") {
    rope.kind = RopeKind::yarn;
    rope.factor = factor.value_or(1.0);
    rope.original_context_length =
        keys.integer("rope.scaling.original_context_length", 1, int64_t{1} << 40).value_or(config.context_length);
    rope.beta_fast = keys.number("rope.scaling.yarn_beta_fast", 0.0, kMax).value_or(32.0);
    rope.beta_slow = keys.number("rope.scaling.yarn_beta_slow", 0.0, kMax).value_or(1.0);
    // llama.cpp multiplies this with the factor that follows from the scaling (1 + 0.1 ln factor).
    const std::optional<double> extra = keys.number("rope.scaling.attn_factor", 0.0, kMax);
    if (extra && *extra != 1.0) rope.attention_factor = *extra * (1.0 + 0.1 * std::log(rope.factor));
  } else if (type == "longrope") {
    rope.kind = RopeKind::longrope;
    rope.short_factor = read_divisors(gguf, read, "rope_factors_short.weight", rotary_dim / 2, keys);
    rope.long_factor = read_divisors(gguf, read, "rope_factors_long.weight", rotary_dim / 2, keys);
    rope.original_context_length =
        keys.integer("rope.scaling.original_context_length", 1, int64_t{1} << 40).value_or(config.context_length);
    rope.factor = static_cast<double>(config.context_length) / static_cast<double>(rope.original_context_length);
    rope.attention_factor = keys.number("rope.scaling.attn_factor", 0.0, kMax).value_or(1.0);
    if (rope.short_factor.empty() || rope.long_factor.empty()) {
      keys.fail("has longrope scaling without rope_factors_short.weight and rope_factors_long.weight",
                "convert the model again");
    }
  } else if (type == "linear" || (type.empty() && factor && *factor != 1.0)) {
    rope.kind = RopeKind::linear;
    rope.factor = factor.value_or(1.0);
  } else if (!type.empty() && type != "none") {
    keys.fail(fmt::format("has rope scaling of type '{}'", type), "known are none, linear, yarn, longrope");
  }
  return rope;
}

void read_sliding_window(const Keys& keys, ModelConfig& config) {
  const int64_t window = keys.integer("attention.sliding_window", 0, int64_t{1} << 40).value_or(0);
  if (window == 0) return;
  config.sliding_window = window;
  config.layer_slides.assign(static_cast<size_t>(config.layers), true);
  if (const GgufValue* pattern = keys.find("attention.sliding_window_pattern")) {
    const GgufArray* array = pattern->array();
    if (array == nullptr || array->count != config.layers || array->numbers.empty()) {
      keys.fail("attention.sliding_window_pattern is no list with one entry per layer", "convert the model again");
    }
    for (int64_t i = 0; i < config.layers; ++i) config.layer_slides[static_cast<size_t>(i)] = array->integer(i) != 0;
  }
  if (std::find(config.layer_slides.begin(), config.layer_slides.end(), true) == config.layer_slides.end()) {
    config.sliding_window = 0;
    config.layer_slides.clear();
    return;
  }
  if (config.architecture == "llama") config.architecture = "mistral";
}

void read_token_ids(const GgufFile& gguf, ModelConfig& config) {
  const auto id = [&](const char* name) {
    const GgufValue* value = gguf.find(fmt::format("tokenizer.ggml.{}_token_id", name));
    const std::optional<int64_t> number = value != nullptr ? value->integer() : std::nullopt;
    return number && *number >= 0 && *number < config.vocab_size ? number : std::nullopt;
  };
  config.bos_token_id = id("bos");
  config.pad_token_id = id("padding");
  for (const char* name : {"eos", "eot", "eom"}) {
    const std::optional<int64_t> end = id(name);
    const auto& known = config.eos_token_ids;
    if (end && std::find(known.begin(), known.end(), *end) == known.end()) config.eos_token_ids.push_back(*end);
  }
}

// The type that holds most values.
DType dominant_dtype(const GgufFile& gguf) {
  std::array<int64_t, kDTypeCount> elements{};
  for (const GgufTensor& tensor : gguf.tensors) elements[static_cast<size_t>(tensor.dtype)] += tensor.shape.elements();
  return static_cast<DType>(std::max_element(elements.begin(), elements.end()) - elements.begin());
}

bool has_tensor(const GgufFile& gguf, std::string_view name) { return gguf.find_tensor(name) != nullptr; }

}  // namespace

int64_t interleaved_heads(const ModelConfig& config, std::string_view hf_name) {
  if (config.architecture != "llama" && config.architecture != "mistral" && config.architecture != "mixtral" &&
      config.architecture != "granite")
    return 0;
  const std::string name = gguf_name_of_hf(config, hf_name);
  if (name.ends_with(".attn_q.weight") || name.ends_with(".attn_q.bias")) return config.heads;
  return name.ends_with(".attn_k.weight") || name.ends_with(".attn_k.bias") ? config.kv_heads : 0;
}

ModelConfig gguf_model_config(const GgufFile& gguf, const ReadAt& read, std::string_view source) {
  const GgufValue* architecture = gguf.find("general.architecture");
  const std::string name = architecture != nullptr && architecture->text() != nullptr ? *architecture->text() : "";
  const Keys keys(gguf, name, source);
  const int64_t experts = keys.integer("expert_count", 0, INT64_MAX).value_or(0);
  const std::string_view family = architecture_of_gguf(name, experts);
  if (family.empty() && (experts == 0 || architecture_of_gguf(name, 0).empty())) {
    keys.fail(name.empty() ? std::string("has no general.architecture")
                           : fmt::format("has architecture '{}', which is not known here", name),
              "use a model of one of these: " + gguf_architecture_names());
  }
  if (const GgufValue* type = gguf.find("general.type");
      type != nullptr && type->text() != nullptr && *type->text() != "model") {
    keys.fail(fmt::format("holds a GGUF {}, not a model", *type->text()), "give the file of the model itself");
  }
  if (family.empty()) {
    keys.fail("is a mixture of experts, which this architecture does not have here", "use a dense model");
  }

  constexpr int64_t kMaxWidth = int64_t{1} << 22;
  ModelConfig config;
  config.architecture = family;
  config.hidden_size = keys.required("embedding_length", kMaxWidth);
  config.intermediate_size = keys.required("feed_forward_length", kMaxWidth);
  config.layers = keys.required("block_count", 4096);
  config.heads = keys.required("attention.head_count", kMaxWidth);
  config.kv_heads = keys.integer("attention.head_count_kv", 1, kMaxWidth).value_or(config.heads);
  if (config.heads % config.kv_heads != 0 || config.heads > config.hidden_size) {
    keys.fail(fmt::format("has {} heads, {} key-value heads and {} hidden values, which do not fit together",
                          config.heads, config.kv_heads, config.hidden_size),
              "convert the model again");
  }
  config.head_dim = keys.integer("attention.key_length", 1, kMaxWidth).value_or(config.hidden_size / config.heads);
  const int64_t value_length = keys.integer("attention.value_length", 1, kMaxWidth).value_or(config.head_dim);
  if ((value_length != config.head_dim && name != "deepseek2") || config.head_dim % 2 != 0 ||
      config.heads * config.head_dim > kMaxWidth) {
    keys.fail(fmt::format("has heads of {} values, which is odd, too large, or not the same for keys and values",
                          config.head_dim),
              "convert the model again");
  }
  config.context_length = keys.required("context_length", int64_t{1} << 40);
  config.norm_eps = keys.number("attention.layer_norm_rms_epsilon", 0.0, 1.0).value_or(1e-6);

  const GgufTensor* embedding = gguf.find_tensor("token_embd.weight");
  if (embedding == nullptr || embedding->shape.rank() != 2 || embedding->shape[1] != config.hidden_size ||
      embedding->shape[0] > (int64_t{1} << 28)) {
    keys.fail(fmt::format("has no tensor token_embd.weight with rows of {} values", config.hidden_size),
              "convert the model again");
  }
  config.vocab_size = embedding->shape[0];
  config.tied_embeddings = !has_tensor(gguf, "output.weight");
  const GgufKeys family_keys = {[&](std::string_view key) { return keys.integer(key, 0, INT64_MAX); },
                                [&](std::string_view key) { return keys.number(key, 0.0, 1e9); },
                                [&](std::string_view key) {
                                  const GgufValue* value = keys.find(key);
                                  return value == nullptr ? std::nullopt : value->boolean();
                                }};
  if (has_layer_norms_in_gguf(family)) {
    read_layer_norm_family(gguf, family_keys, config);
    if (config.positions == PositionKind::rotary) config.rope = read_rope(gguf, read, keys, config);
    read_sliding_window(keys, config);
    read_token_ids(gguf, config);
    config.stored_dtype = dominant_dtype(gguf);
    return config;
  }
  config.attention_bias = has_tensor(gguf, "blk.0.attn_q.bias");
  config.attention_output_bias = has_tensor(gguf, "blk.0.attn_output.bias");
  config.mlp_bias = has_tensor(gguf, "blk.0.ffn_down.bias");
  config.rope = read_rope(gguf, read, keys, config);
  read_sliding_window(keys, config);
  read_rms_family(gguf, family_keys, config);
  read_token_ids(gguf, config);
  config.stored_dtype = dominant_dtype(gguf);
  return config;
}

namespace {

// The experts of a layer, which the file has as one tensor (experts, out, in).
bool add_experts(const TensorEntry& stack, const ModelConfig& config, std::vector<TensorEntry>& out) {
  if (expert_hf_name(config, stack.stored_name, 0).empty()) return false;
  const int64_t experts = config.mixture.experts;
  if (stack.shape.rank() != 3 || stack.shape[0] != experts || stack.bytes % experts != 0) return false;
  for (int64_t expert = 0; expert < experts; ++expert) {
    TensorEntry entry = stack;
    entry.name = expert_hf_name(config, stack.stored_name, expert);
    entry.shape = {stack.shape[1], stack.shape[2]};
    entry.bytes = stack.bytes / experts;
    entry.offset = stack.offset + expert * entry.bytes;
    out.push_back(std::move(entry));
  }
  return true;
}

// The experts of a layer that the model has in one tensor, inputs before outputs, and the file in others.
class TurnedStacks {
 public:
  explicit TurnedStacks(std::string path) : path_(std::move(path)) {}

  bool take(const TensorEntry& stored, const ModelConfig& config) {
    const auto part = expert_part_of_gguf(config, stored.stored_name);
    if (!part) return false;
    const bool bias = stored.shape.rank() == 2;
    const bool fits = (bias || stored.shape.rank() == 3) && stored.shape[0] == config.mixture.experts &&
                      stored.shape.elements() > 0 && !(bias && is_block_type(stored.dtype));
    if (!fits) fail(stored, "is no stack of experts");
    const TurnedExperts layout{stored.shape[0], bias ? 1 : stored.shape[2], stored.shape[1], {}};
    auto [at, is_new] = stacks_.try_emplace(part->name, Stack{stored, layout, {}});
    Stack& stack = at->second;
    if (stack.layout.experts != layout.experts || stack.layout.inputs != layout.inputs ||
        stack.layout.outputs != layout.outputs)
      fail(stored, "has another shape than " + stack.entry.stored_name);
    stack.layout.parts.resize(static_cast<size_t>(part->parts));
    stack.layout.parts[static_cast<size_t>(part->part)] = {stored.dtype, stored.file, stored.offset, -1, 0};
    stack.found.insert(part->part);
    if (!is_new) stack.entry.bytes += stored.bytes;
    return true;
  }

  void finish(std::vector<TensorEntry>& out) {
    for (auto& [name, stack] : stacks_) {
      TurnedExperts& layout = stack.layout;
      if (stack.found.size() != layout.parts.size()) fail(stack.entry, "stands alone, without its other half");
      TensorEntry entry = stack.entry;
      entry.name = name;
      const int64_t outputs = layout.outputs * static_cast<int64_t>(layout.parts.size());
      entry.shape =
          entry.shape.rank() == 2 ? Shape{layout.experts, outputs} : Shape{layout.experts, layout.inputs, outputs};
      entry.dtype = layout.parts[0].dtype;
      entry.offset = layout.parts[0].offset;
      entry.turned = std::make_shared<TurnedExperts>(std::move(layout));
      out.push_back(std::move(entry));
    }
  }

 private:
  struct Stack {
    TensorEntry entry;
    TurnedExperts layout;
    std::set<int> found;
  };

  [[noreturn]] void fail(const TensorEntry& entry, const std::string& problem) const {
    throw caller_error(path_,
                       fmt::format("tensor {} of shape {} {}", entry.stored_name, to_string(entry.shape), problem),
                       "convert the model again");
  }

  std::string path_;
  std::map<std::string, Stack> stacks_;
};

void check_qkv_rows(const TensorEntry& entry, const ModelConfig& config, const std::string& path) {
  if (entry.qkv.groups == 0) return;
  const int64_t rows = (config.heads + 2 * config.kv_heads) * config.head_dim;
  if (entry.shape.rank() >= 1 && entry.shape.rank() <= 2 && entry.shape[0] == rows &&
      (entry.shape.rank() == 2 || !is_block_type(entry.dtype)))
    return;
  throw caller_error(
      path, fmt::format("tensor {} has shape {}, not {} rows", entry.stored_name, to_string(entry.shape), rows),
      "convert the model again");
}

// Phi-2 in files that fused what the model has apart: [q, k, v] by rows.
void split_qkv(const TensorEntry& fused, const ModelConfig& config, const std::string& path,
               std::vector<TensorEntry>& out) {
  TensorEntry checked = fused;
  checked.qkv = {config.kv_heads, config.heads / config.kv_heads};
  check_qkv_rows(checked, config, path);
  const size_t name_begin = fused.stored_name.find('.') + 1;
  const std::string layer = fused.stored_name.substr(name_begin, fused.stored_name.find('.', name_begin) - name_begin);
  const std::string suffix = fused.stored_name.substr(fused.stored_name.rfind('.'));
  const int64_t row_bytes = fused.bytes / fused.shape[0];
  int64_t row = 0;
  for (const auto& [part, heads] : {std::pair{"q_proj", config.heads}, std::pair{"k_proj", config.kv_heads},
                                    std::pair{"v_proj", config.kv_heads}}) {
    TensorEntry entry = fused;
    const int64_t rows = heads * config.head_dim;
    entry.name = fmt::format("model.layers.{}.self_attn.{}{}", layer, part, suffix);
    entry.shape = fused.shape.rank() == 2 ? Shape{rows, fused.shape[1]} : Shape{rows};
    entry.offset = fused.offset + row * row_bytes;
    entry.bytes = rows * row_bytes;
    row += rows;
    out.push_back(std::move(entry));
  }
}

}  // namespace

TensorIndex gguf_tensor_index(const GgufFile& gguf, std::shared_ptr<InputFile> file, const ModelConfig& config) {
  TensorIndex index;
  TurnedStacks turned(file->path());
  for (const GgufTensor& tensor : gguf.tensors) {
    if (tensor.name.starts_with("rope_f")) continue;  // rope_freqs and rope_factors are in the config
    TensorEntry entry;
    const bool layer_norms = has_layer_norms_in_gguf(config.architecture);
    const std::string hf_name = hf_name_of_gguf(config, tensor.name);
    entry.name = hf_name.empty() ? tensor.name : hf_name;
    entry.stored_name = tensor.name;
    entry.dtype = tensor.dtype;
    entry.shape = tensor.shape;
    entry.offset = tensor.offset;
    entry.bytes = tensor.bytes;
    entry.interleaved_heads = interleaved_heads(config, entry.name);
    if (add_experts(entry, config, index.entries) || turned.take(entry, config)) continue;
    if (tensor.dtype == DType::f32 && tensor.shape.rank() == 1) entry.added = added_in_gguf(config, entry.name);
    if (config.architecture == "phi" && tensor.name.find(".attn_qkv.") != std::string::npos) {
      split_qkv(entry, config, file->path(), index.entries);
      continue;
    }
    if (layer_norms) {
      entry.qkv = layer_norm_qkv_rows(config, entry.name);
      entry.transposed = is_transposed_in_gguf(config, entry.name) && entry.shape.rank() == 2;
      if (entry.transposed) entry.shape = {tensor.shape[1], tensor.shape[0]};
      check_qkv_rows(entry, config, file->path());
    }
    const bool rows_fit =
        entry.interleaved_heads == 0 || (entry.shape.rank() >= 1 && entry.shape.rank() <= 2 &&
                                         entry.shape[0] == entry.interleaved_heads * config.head_dim &&
                                         (entry.shape.rank() == 2 || !is_block_type(entry.dtype)));
    if (!rows_fit) {
      throw caller_error(file->path(),
                         fmt::format("tensor {} has shape {}, not {} rows", tensor.name, to_string(tensor.shape),
                                     entry.interleaved_heads * config.head_dim),
                         "convert the model again");
    }
    index.entries.push_back(std::move(entry));
  }
  turned.finish(index.entries);
  std::sort(index.entries.begin(), index.entries.end(),
            [](const TensorEntry& a, const TensorEntry& b) { return a.name < b.name; });
  index.files.push_back(std::move(file));
  return index;
}

}  // namespace plimsoll
