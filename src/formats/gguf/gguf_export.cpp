#include "formats/gguf/gguf_export.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "base/error.h"
#include "base/log.h"
#include "formats/gguf/gguf_families.h"
#include "formats/gguf/gguf_model.h"
#include "formats/gguf/gguf_names.h"
#include "formats/gguf/gguf_rms_families.h"
#include "formats/number_conversion.h"

namespace plimsoll {
namespace {

Error cannot_express(const std::string& what) {
  return caller_error("GGUF", "has no way to hold " + what, "write a Hugging Face folder instead");
}

void add_rope(const ModelConfig& config, const std::string& prefix, GgufExport& out) {
  const RopeConfig& rope = config.rope;
  const int64_t rotary_dim = config.rotary_dim();
  out.metadata[prefix + "rope.freq_base"] = gguf_f32(rope.theta);
  out.metadata[prefix + "rope.dimension_count"] = gguf_u32(rotary_dim);
  const auto add_scaling = [&](const char* type) {
    out.metadata[prefix + "rope.scaling.type"] = gguf_text(type);
    out.metadata[prefix + "rope.scaling.factor"] = gguf_f32(rope.factor);
    if (rope.original_context_length > 0) {
      out.metadata[prefix + "rope.scaling.original_context_length"] = gguf_u32(rope.original_context_length);
    }
  };
  const auto add_divisors = [&](const char* name, const std::vector<double>& divisors) {
    GgufExportTensor tensor;
    tensor.output = {name, DType::f32, {static_cast<int64_t>(divisors.size())}};
    tensor.values.assign(divisors.begin(), divisors.end());
    out.tensors.push_back(std::move(tensor));
  };
  if (!rope.frequency_divisors.empty()) add_divisors("rope_freqs.weight", rope.frequency_divisors);
  switch (rope.kind) {
    case RopeKind::standard:
      break;
    case RopeKind::linear:
      add_scaling("linear");
      break;
    case RopeKind::llama3:
      add_divisors("rope_freqs.weight", llama3_frequency_divisors(rope, rotary_dim));
      break;
    case RopeKind::yarn: {
      if (!rope.truncate && config.architecture != "gpt_oss") throw cannot_express("yarn scaling without truncation");
      if (!rope.truncate)
        log_warning(
            "llama.cpp rounds the limits of this model's YaRN scaling: its logits will differ from the model's");
      add_scaling("yarn");
      if (rope.beta_fast != 32.0) out.metadata[prefix + "rope.scaling.yarn_beta_fast"] = gguf_f32(rope.beta_fast);
      if (rope.beta_slow != 1.0) out.metadata[prefix + "rope.scaling.yarn_beta_slow"] = gguf_f32(rope.beta_slow);
      if (config.latent.kv_rank > 0) break;  // the scores are scaled instead, see yarn_log_multiplier
      // llama.cpp multiplies by 1 + 0.1 ln(factor) itself; the key holds what is on top of that.
      const double log_factor = rope.factor > 1 ? std::log(rope.factor) : 0.0;
      const double derived = 1.0 + 0.1 * log_factor;
      double wanted = rope.attention_factor.value_or(derived);
      if (!rope.attention_factor && rope.mscale.value_or(0) != 0 && rope.mscale_all_dim.value_or(0) != 0) {
        wanted = (1.0 + 0.1 * *rope.mscale * log_factor) / (1.0 + 0.1 * *rope.mscale_all_dim * log_factor);
      }
      if (wanted != derived) out.metadata[prefix + "rope.scaling.attn_factor"] = gguf_f32(wanted / derived);
      break;
    }
    case RopeKind::longrope: {
      add_scaling("longrope");
      const double original = static_cast<double>(rope.original_context_length);
      const double derived = rope.factor > 1 ? std::sqrt(1 + std::log(rope.factor) / std::log(original)) : 1.0;
      out.metadata[prefix + "rope.scaling.attn_factor"] = gguf_f32(rope.attention_factor.value_or(derived));
      add_divisors("rope_factors_long.weight", rope.long_factor);
      add_divisors("rope_factors_short.weight", rope.short_factor);
      break;
    }
    case RopeKind::dynamic:
      throw cannot_express("dynamic rope scaling");
  }
}

void add_sliding_window(const ModelConfig& config, const std::string& prefix, GgufMetadata& metadata) {
  // Of Gemma and gpt_oss: with their other keys.
  if (config.layer_slides.empty() || config.query_pre_attn_scalar > 0 || config.architecture == "gpt_oss") return;
  metadata[prefix + "attention.sliding_window"] = gguf_u32(config.sliding_window);
  if (std::find(config.layer_slides.begin(), config.layer_slides.end(), false) != config.layer_slides.end()) {
    GgufArray pattern;
    pattern.type = GgufType::boolean;
    pattern.count = config.layers;
    for (const bool slides : config.layer_slides) pattern.numbers.push_back(static_cast<std::byte>(slides));
    GgufValue value;
    value.type = GgufType::array;
    value.value = std::move(pattern);
    metadata[prefix + "attention.sliding_window_pattern"] = std::move(value);
  }
  log_warning(
      fmt::format("llama.cpp ignores the sliding window of this architecture: it will differ on texts of more "
                  "than {} tokens",
                  config.sliding_window));
}

void add_config(const ModelConfig& config, const std::string& prefix, GgufMetadata& metadata) {
  metadata[prefix + "block_count"] = gguf_u32(config.layers);
  metadata[prefix + "context_length"] = gguf_u32(std::min<int64_t>(config.context_length, UINT32_MAX));
  metadata[prefix + "embedding_length"] = gguf_u32(config.hidden_size);
  metadata[prefix + "feed_forward_length"] = gguf_u32(config.intermediate_size);
  metadata[prefix + "attention.head_count"] = gguf_u32(config.heads);
  metadata[prefix + "attention.head_count_kv"] = gguf_u32(config.kv_heads);
  metadata[prefix + "attention.key_length"] = gguf_u32(config.head_dim);
  metadata[prefix + "attention.value_length"] = gguf_u32(config.head_dim);
  if (!has_layer_norms_in_gguf(config.architecture)) {
    metadata[prefix + "attention.layer_norm_rms_epsilon"] = gguf_f32(config.norm_eps);
    write_rms_keys(config, prefix, metadata);
  } else {
    write_layer_norm_keys(config, prefix, metadata);
  }
  metadata[prefix + "vocab_size"] = gguf_u32(config.vocab_size);
}

GgufExportTensor plan_tensor(const ModelConfig& config, const NamedShape& tensor, const GgufFileType& type) {
  GgufExportTensor out;
  out.hf_name = tensor.name;
  const bool layer_norms = has_layer_norms_in_gguf(config.architecture);
  const std::optional<ExpertMatrix> expert = expert_matrix(config, tensor.name);
  out.output.name = expert ? expert->gguf_name : gguf_name_of_hf(config, tensor.name);
  if (expert) out.stacked = expert->expert == 0 ? config.mixture.experts : -1;
  out.added = added_in_gguf(config, tensor.name);
  out.output.shape = tensor.shape;
  if (out.output.name.empty() || tensor.shape.rank() < 1 || tensor.shape.rank() > 2) {
    throw cannot_express(fmt::format("tensor {} of shape {}", tensor.name, to_string(tensor.shape)));
  }
  out.interleaved_heads = interleaved_heads(config, tensor.name);
  if (layer_norms) {
    out.qkv = layer_norm_qkv_rows(config, tensor.name);
    out.transposed = is_transposed_in_gguf(config, tensor.name);
    if (out.transposed) out.output.shape = {tensor.shape[1], tensor.shape[0]};
  }
  PLIMSOLL_CHECK(out.interleaved_heads == 0 || tensor.shape[0] == out.interleaved_heads * config.head_dim,
                 "rows of " + tensor.name + " are not heads * head_dim");
  out.output.dtype = gguf_tensor_type(type, config, out.output.name, out.output.shape);
  return out;
}

// Experts that the model has inputs before outputs, each part by itself; none for other tensors.
std::vector<GgufExportTensor> plan_turned_experts(const ModelConfig& config, const NamedShape& tensor,
                                                  const GgufFileType& type) {
  std::vector<GgufExportTensor> out;
  while (const auto part = expert_part_of_hf(config, tensor.name, static_cast<int>(out.size()))) {
    const Shape& shape = tensor.shape;  // (experts, [inputs,] outputs · parts)
    PLIMSOLL_CHECK((shape.rank() == 2 || shape.rank() == 3) && shape[-1] % part->parts == 0,
                   tensor.name + " is no stack of experts");
    GgufExportTensor piece;
    piece.hf_name = tensor.name;
    piece.part = part->part;
    piece.parts = part->parts;
    piece.output.name = part->name;
    const int64_t outputs = shape[-1] / part->parts;
    if (shape.rank() == 2) {
      piece.output.shape = {shape[0], outputs};
      piece.output.dtype = DType::f32;
    } else {
      piece.output.shape = {shape[0], outputs, shape[1]};
      piece.output.dtype = gguf_tensor_type(type, config, part->name, {outputs, shape[1]});
    }
    out.push_back(std::move(piece));
  }
  return out;
}

bool moves_rows(const GgufExportTensor& tensor) { return tensor.interleaved_heads != 0 || tensor.qkv.groups != 0; }

int64_t model_row(const GgufExportTensor& tensor, int64_t row) {
  if (tensor.qkv.groups != 0) return grouped_row(row, tensor.output.shape[0], tensor.qkv);
  return tensor.interleaved_heads == 0 ? row : half_split_row(row, tensor.output.shape[0] / tensor.interleaved_heads);
}

int64_t row_elements(const GgufExportTensor& tensor) {
  if (tensor.output.shape.rank() >= 2) return tensor.output.shape[-1];
  return moves_rows(tensor) ? 1 : tensor.output.shape[0];
}

}  // namespace

std::vector<GgufOutput> GgufExport::outputs() const {
  std::vector<GgufOutput> out;
  for (const GgufExportTensor& tensor : tensors) {
    if (tensor.stacked < 0) continue;
    out.push_back(tensor.output);
    if (tensor.stacked > 0) out.back().shape = {tensor.stacked, tensor.output.shape[0], tensor.output.shape[1]};
  }
  return out;
}

void read_export_row(const GgufExportTensor& tensor, const Shape& shape, std::span<const float> values, int64_t row,
                     std::span<float> out) {
  const int64_t width = shape.rank() > 1 ? shape[-1] : 1;
  int64_t first = row * width, step = 1;
  if (tensor.parts > 0) {
    const int64_t outputs = width / tensor.parts;
    const bool bias = shape.rank() == 2;
    first = bias ? row * width + tensor.part
                 : row / outputs * shape[1] * width + row % outputs * tensor.parts + tensor.part;
    step = bias ? tensor.parts : width;
  } else if (tensor.transposed) {
    first = row;
    step = width;
  }
  for (size_t i = 0; i < out.size(); ++i) out[i] = values[static_cast<size_t>(first + static_cast<int64_t>(i) * step)];
}

GgufMetadata tokenizer_keys(const GgufMetadata& metadata) {
  GgufMetadata out;
  for (const auto& [key, value] : metadata) {
    if (key.starts_with("tokenizer.")) out.emplace(key, value);
  }
  return out;
}

GgufExport plan_gguf_export(const ModelConfig& config, const std::vector<NamedShape>& tensors, const GgufFileType& type,
                            const GgufMetadata& tokenizer, const std::string& model_name) {
  const std::string architecture(gguf_architecture(config.architecture));
  if (architecture.empty()) throw cannot_express("architecture " + config.architecture);
  const bool like_llama = !has_layer_norms_in_gguf(config.architecture);
  // llama.cpp knows no bias of the MLP without gate and up having it too, and none on o alone; it reads these of llama.
  if ((config.mlp_bias || config.attention_output_bias) && architecture != "llama" && architecture != "gpt-oss" &&
      like_llama)
    throw cannot_express("these biases");

  GgufExport out;
  out.metadata = tokenizer;
  if (tokenizer.empty()) out.metadata["tokenizer.ggml.model"] = gguf_text("no_vocab");
  out.metadata["general.architecture"] = gguf_text(architecture);
  out.metadata["general.type"] = gguf_text("model");
  out.metadata["general.name"] = gguf_text(model_name);
  out.metadata["general.file_type"] = gguf_u32(type.file_type);
  out.metadata["general.quantization_version"] = gguf_u32(2);
  const std::string prefix = architecture + ".";
  add_config(config, prefix, out.metadata);
  if (config.positions == PositionKind::rotary) add_rope(config, prefix, out);
  add_sliding_window(config, prefix, out.metadata);
  for (const NamedShape& tensor : tensors) {
    if (config.tied_embeddings && tensor.name == "lm_head.weight") continue;
    std::vector<GgufExportTensor> parts = plan_turned_experts(config, tensor, type);
    if (parts.empty()) parts.push_back(plan_tensor(config, tensor, type));
    std::move(parts.begin(), parts.end(), std::back_inserter(out.tensors));
  }
  if (config.tied_embeddings && needs_own_head(config)) {
    GgufExportTensor head = *std::find_if(out.tensors.begin(), out.tensors.end(), [](const GgufExportTensor& tensor) {
      return tensor.output.name == "token_embd.weight";
    });
    head.output.name = "output.weight";
    out.tensors.push_back(std::move(head));
  }
  return out;
}

int64_t gguf_staging_bytes(const GgufExportTensor& tensor) {
  const int64_t elements = row_elements(tensor);
  return std::max<int64_t>(1,
                           elements * static_cast<int64_t>(sizeof(float)) + dtype_bytes(tensor.output.dtype, elements));
}

void write_gguf_tensor(GgufWriter& writer, const GgufExportTensor& tensor, const ReadRow& read_row, ThreadPool& pool,
                       std::span<std::byte> staging, const WrittenRow& written) {
  if (!tensor.values.empty()) return writer.write(std::as_bytes(std::span(tensor.values)));
  const int64_t row_bytes = gguf_staging_bytes(tensor), at_once = static_cast<int64_t>(staging.size()) / row_bytes;
  PLIMSOLL_CHECK(at_once > 0 && reinterpret_cast<uintptr_t>(staging.data()) % alignof(float) == 0,
                 "staging is too small or not aligned");
  const int64_t elements = row_elements(tensor), encoded_bytes = dtype_bytes(tensor.output.dtype, elements);
  auto* values = reinterpret_cast<float*>(staging.data());
  std::byte* encoded = staging.data() + at_once * elements * static_cast<int64_t>(sizeof(float));
  const int64_t rows = elements == 0 ? 0 : tensor.output.shape.elements() / elements;
  for (int64_t first = 0; first < rows; first += at_once) {
    const int64_t count = std::min(at_once, rows - first);
    pool.parallel_for(count, [&](int64_t i, int) {
      const std::span<float> row(values + i * elements, static_cast<size_t>(elements));
      read_row(model_row(tensor, first + i), row);
      if (tensor.added != 0)
        for (float& value : row) value += tensor.added;
      encode_values(tensor.output.dtype, row, encoded + i * encoded_bytes);
      if (written) written(first + i, row, encoded + i * encoded_bytes);
    });
    writer.write({encoded, static_cast<size_t>(count * encoded_bytes)});
  }
}

}  // namespace plimsoll
