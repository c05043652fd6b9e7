#include "train/probe.h"

#include <algorithm>
#include <cstring>

#include "arch/architecture.h"
#include "base/error.h"
#include "config/quant_words.h"
#include "formats/safetensors.h"
#include "formats/safetensors_writer.h"
#include "ops/op_def.h"
#include "passes/autodiff.h"
#include "setup/inference.h"
#include "setup/packed_formats.h"
#include "setup/sources.h"
#include "setup/token_batch.h"

namespace plimsoll {
namespace {

struct ProbeInputs {
  std::string out_path;
  bool gradients = false;
  DType precision = DType::f32;
  PackedFormats packed;
  std::vector<LoraModule> adapter_modules;
};

constexpr const char* kForwardPhase = "forward";
constexpr const char* kLossPhase = "loss";

// A (B, T) tensor of whole numbers; empty when absent.
std::vector<int32_t> read_integers(const TensorIndex& batch, const char* name, const Shape& wanted) {
  const TensorEntry* entry = batch.find(name);
  if (entry == nullptr) return {};
  if (entry->shape != wanted)
    throw caller_error(name, "has shape " + to_string(entry->shape) + ", input_ids has " + to_string(wanted),
                       "give every tensor of the batch one shape");
  if (entry->dtype != DType::i64 && entry->dtype != DType::i32)
    throw caller_error(name, "is " + std::string(dtype_name(entry->dtype)), "store it as int64 or int32");
  std::vector<std::byte> bytes(static_cast<size_t>(entry->bytes));
  batch.files[static_cast<size_t>(entry->file)]->read(entry->offset, bytes);
  std::vector<int32_t> values(static_cast<size_t>(entry->shape.elements()));
  for (size_t i = 0; i < values.size(); ++i) {
    int64_t wide = 0;
    if (entry->dtype == DType::i64) {
      std::memcpy(&wide, bytes.data() + 8 * i, 8);
    } else {
      int32_t narrow = 0;
      std::memcpy(&narrow, bytes.data() + 4 * i, 4);
      wide = narrow;
    }
    if (wide < INT32_MIN || wide > INT32_MAX)
      throw caller_error(name, "holds " + std::to_string(wide), "values must fit 32 bits");
    values[i] = static_cast<int32_t>(wide);
  }
  return values;
}

// Who sees whom: given segments; else the mask; else documents that start where positions start again.
std::vector<int32_t> segments_of(const TensorIndex& batch, const Shape& shape, std::span<const int32_t> positions) {
  std::vector<int32_t> segments = read_integers(batch, "segment_ids", shape);
  const std::vector<int32_t> mask = read_integers(batch, "attention_mask", shape);
  const int64_t length = shape[1];
  if (segments.empty()) {
    segments.assign(static_cast<size_t>(shape.elements()), 0);
    for (size_t i = 0; i < segments.size() && mask.empty() && !positions.empty(); ++i)
      if (static_cast<int64_t>(i) % length != 0)
        segments[i] = segments[i - 1] + (positions[i] <= positions[i - 1] ? 1 : 0);
  }
  for (size_t i = 0; i < mask.size(); ++i)
    if (mask[i] == 0) segments[i] = -1;
  return segments;
}

TokenBatch read_batch(const TensorIndex& file, const std::string& path, int64_t vocab_size) {
  const TensorEntry* ids = file.find("input_ids");
  if (ids == nullptr || ids->shape.rank() != 2 || ids->shape.elements() == 0)
    throw caller_error(path, "has no input_ids of shape (B, T)",
                       "store input_ids as an int64 tensor of two dimensions");
  TokenBatch batch;
  batch.batch = ids->shape[0];
  batch.length = ids->shape[1];
  batch.ids = read_integers(file, "input_ids", ids->shape);
  for (const int32_t id : batch.ids)
    if (id < 0 || id >= vocab_size)
      throw caller_error("input_ids", "holds " + std::to_string(id),
                         "ids of this model are 0 to " + std::to_string(vocab_size - 1));
  batch.positions = read_integers(file, "position_ids", ids->shape);
  for (const int32_t position : batch.positions)
    if (position < 0) throw caller_error("position_ids", "holds " + std::to_string(position), "positions count from 0");
  batch.segments = segments_of(file, ids->shape, batch.positions);
  if (batch.positions.empty())
    for (int64_t i = 0; i < ids->shape.elements(); ++i)
      batch.positions.push_back(static_cast<int32_t>(i % batch.length));
  batch.segment_start.resize(batch.segments.size());
  fill_segment_start(batch.length, batch.segments, batch.segment_start);
  // The file's labels stand at their own token; ours at the token before.
  const std::vector<int32_t> labels = read_integers(file, "labels", ids->shape);
  for (const int32_t label : labels)
    if (label != -100 && (label < 0 || label >= vocab_size))
      throw caller_error("labels", "holds " + std::to_string(label),
                         "labels are ids of this model, or -100 to ignore a position");
  for (size_t i = 0; i < labels.size(); ++i)
    batch.labels.push_back(static_cast<int64_t>(i + 1) % batch.length == 0 ? -100 : labels[i + 1]);
  return batch;
}

struct ProbePhases {
  std::vector<Graph> graphs;
  std::vector<std::string> differentiated;  // names
  std::vector<float> inv_freq;
};

ProbePhases build_phases(const ModelConfig& config, const ProbeInputs& request, const TokenBatch& batch) {
  ForwardRequest forward;
  forward.kind = ForwardKind::logits;
  forward.batch = batch.batch;
  forward.length = batch.length;
  forward.compute = request.precision;
  forward.balance_weight = config.mixture.balance_weight;
  // Rotary extensions that look at the length see the largest position, as the reference does.
  forward.longest_sequence = *std::max_element(batch.positions.begin(), batch.positions.end()) + 1;
  ProbePhases phases;
  const auto build = [&](ForwardKind kind, const char* phase) {
    forward.kind = kind;
    ForwardGraph built = build_forward(config, forward);
    phases.inv_freq = built.inv_freq;
    quantize(built.graph, request.packed);
    if (!request.adapter_modules.empty()) apply_lora(built.graph, request.adapter_modules);
    built.graph.phase = phase;
    return std::move(built.graph);
  };
  phases.graphs.push_back(build(ForwardKind::logits, kForwardPhase));
  if (batch.labels.empty()) return phases;
  Graph loss = build(ForwardKind::loss, kLossPhase);
  if (request.gradients) {
    const ValueKind kind = request.adapter_modules.empty() ? ValueKind::parameter : ValueKind::adapter;
    std::vector<ValueId> trained;
    for (size_t i = 0; i < loss.values.size(); ++i) {
      if (loss.values[i].kind != kind || !loss.values[i].trainable) continue;
      trained.push_back(static_cast<ValueId>(i));
      phases.differentiated.push_back(loss.values[i].name);
    }
    autodiff(loss, trained);
  }
  verify(loss);
  phases.graphs.push_back(std::move(loss));
  return phases;
}

void write_result(const Executor& forward, const Executor* loss, const float& loss_value, const ProbePhases& phases,
                  const TokenBatch& batch, const ProbeInputs& request, int64_t vocab_size) {
  std::vector<SafetensorsOutput> entries = {{"logits", DType::f32, {batch.batch, batch.length, vocab_size}}};
  std::vector<const std::byte*> data = {forward.data(forward.plan().graph.outputs.at(0))};
  if (loss != nullptr) {
    entries.push_back({"loss", DType::f32, Shape{}});
    data.push_back(reinterpret_cast<const std::byte*>(&loss_value));
    for (const std::string& name : phases.differentiated) {
      const std::string gradient = gradient_name(name);
      entries.push_back({gradient, DType::f32, loss->plan().graph.value(loss->plan().graph.find(gradient)).shape});
      data.push_back(loss->data(gradient));
    }
  }
  SafetensorsWriter writer(request.out_path, entries);
  for (size_t i = 0; i < entries.size(); ++i) writer.write({data[i], static_cast<size_t>(entries[i].bytes())});
  writer.finish();
}

}  // namespace

ProbeReport run_probe(const ProbeOptions& options) {
  const ModelFiles model = open_runnable_model(options.model);
  const ModelConfig& config = model.config;
  const TokenBatch batch = read_batch(open_safetensors(options.batch), options.batch, config.vocab_size);
  if (options.gradients && batch.labels.empty())
    throw caller_error(options.batch, "has no labels", "add labels, or leave --gradients out");
  const AdapterSource adapter = open_adapter_source(options.adapter);

  // Gradients of the weights themselves need them whole.
  const bool trains_base = options.gradients && adapter.modules.empty();
  if (trains_base && options.quant != quant_word::kAuto && options.quant != quant_word::kNone)
    throw caller_error("--quant", options.quant + " given with --gradients of the base, which are of whole weights",
                       "give --adapter DIR too, or --quant none");
  const PackedFormats packed = choose_packed_formats(trains_base ? quant_word::kNone : options.quant,
                                                     PackedDefault::none, model.tensors, options.precision);
  const ProbeInputs inputs{options.out, options.gradients, options.precision, packed, adapter.modules};
  ProbePhases phases = build_phases(config, inputs, batch);
  ThreadPool pool(threads_or_all(options.threads));
  const RunPlan plan = plan_inference(std::move(phases.graphs), model.tensors, pool.threads());
  const Arena arena(plan.arena_bytes);
  load_weights(plan, arena, pool, model, adapter);
  RunState state;

  const Executor forward(plan.phase(kForwardPhase), arena, cpu_backend(), pool);
  write_inv_freq(forward, phases.inv_freq);
  std::optional<Executor> loss;
  float loss_value = 0;
  if (plan.find_phase(kLossPhase) != nullptr) {
    loss.emplace(plan.phase(kLossPhase), arena, cpu_backend(), pool);
    write_batch(*loss, batch, 1.0F / static_cast<float>(std::max<int64_t>(1, batch.counted_tokens())));
    loss->run(state);
    loss_value = static_cast<float>(read_loss(*loss));
  }
  write_batch(forward, batch, 1.0F);
  forward.run(state);
  write_result(forward, loss ? &*loss : nullptr, loss_value, phases, batch, inputs, config.vocab_size);
  return {loss ? std::optional(static_cast<double>(loss_value)) : std::nullopt};
}

}  // namespace plimsoll
