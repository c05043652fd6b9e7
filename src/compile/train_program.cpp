#include "compile/train_program.h"

#include <algorithm>
#include <chrono>
#include <unordered_set>

#include "base/error.h"
#include "formats/peft.h"
#include "formats/tensor_index.h"
#include "ops/op_def.h"
#include "passes/autodiff.h"
#include "passes/first_write.h"
#include "passes/fuse_update.h"
#include "passes/quantize.h"
#include "passes/recompute.h"
#include "passes/rewrite.h"
#include "passes/share_product.h"
#include "passes/stream.h"
#include "passes/stream_inputs.h"
#include "passes/widen_half.h"

namespace plimsoll {
namespace {

// After each pass: verify, and show the graph to whoever wants to see it.
class PassWatch {
 public:
  explicit PassWatch(const PassObserver& observer, bool verified = true) : observer_(observer), verified_(verified) {}
  void passed(std::string_view pass, const Graph& graph) {
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    if (verified_) verify(graph);
    if (observer_) observer_(pass, graph, seconds);
    start_ = Clock::now();
  }

 private:
  using Clock = std::chrono::steady_clock;
  const PassObserver& observer_;
  bool verified_;
  Clock::time_point start_ = Clock::now();
};

std::vector<LoraModule> choose_modules(const Graph& graph, const Recipe& recipe, const TrainSources& sources) {
  if (!trains_adapter(recipe.method)) return {};
  if (!sources.adapter_modules.empty()) return sources.adapter_modules;
  std::vector<LoraModule> modules =
      select_lora_modules(graph, recipe.targets, recipe.rank, lora_scale(recipe.alpha, recipe.rank, recipe.rslora));
  for (LoraModule& module : modules) module.dora = recipe.method == Method::dora;
  return modules;
}

// The persistent values that training changes, in graph order.
std::vector<ValueId> trained_values(const Graph& graph, Method method) {
  const ValueKind kind = trains_adapter(method) ? ValueKind::adapter : ValueKind::parameter;
  std::vector<ValueId> trained;
  for (size_t i = 0; i < graph.values.size(); ++i)
    if (graph.values[i].kind == kind && graph.values[i].trainable) trained.push_back(static_cast<ValueId>(i));
  return trained;
}

void add_transfer(Graph& graph, OpKind kind, ValueId value, int64_t staging_bytes) {
  const std::string name = graph.value(value).name;
  TransferAttrs attrs;
  attrs.tensor = name;
  attrs.staging_bytes = staging_bytes;
  add_op(graph, {kind, {value}, attrs, std::string(name_of(kind)) + "." + name, OpRole::transfer});
}

void add_clear(Graph& graph, Value value) {
  const std::string name = value.name;
  const ValueId id = add_value(graph, std::move(value));
  add_op(graph, {OpKind::fill_zero, {id}, {}, "clear." + name, OpRole::transfer});
}

// DoRA's magnitudes begin as the norms of the weights that the adapter gives: for a new one those of the base.
void add_magnitude(Graph& graph, const LoraModule& module) {
  const auto named = [&](const std::string& name) {
    const ValueId id = graph.find(name);
    PLIMSOLL_CHECK(id != kNoValue, name + " is loaded before");
    return id;
  };
  const ValueId norm = add_op(graph, {OpKind::dora_norm,
                                      {named(module.path + ".weight"), named(peft_tensor_name(module.path, 'A')),
                                       named(peft_tensor_name(module.path, 'B'))},
                                      DoraNormAttrs{module.scale, !module.in_out},
                                      "norm." + module.path,
                                      OpRole::transfer})[0];
  const ValueId magnitude =
      add_value(graph, {peft_magnitude_name(module.path), DType::f32, graph.value(norm).shape, ValueKind::adapter});
  add_op(graph, {OpKind::cast, {norm, magnitude}, {}, "init." + graph.value(magnitude).name, OpRole::transfer});
}

// Without what is computed again.
double total_flops(const Graph& graph) {
  double flops = 0;
  for (const Op& op : graph.ops)
    if (op.role != OpRole::recompute) flops += op_cost(graph, op).flops;
  return flops;
}

}  // namespace

int64_t load_staging_of(const Value& weight, int64_t least) {
  if (!is_packed(weight.dtype)) return least;
  return std::max(least, packing_staging_bytes(weight.dtype, weight.shape));
}

namespace {

// A weight by way of the arena into the file of streamed weights.
void add_to_disk(Graph& graph, const Value& weight, int64_t staging_bytes) {
  TransferAttrs attrs;
  attrs.tensor = weight.name;
  attrs.staging_bytes = load_staging_of(weight, staging_bytes);
  attrs.dtype = weight.dtype;
  attrs.shape = weight.shape;
  const ValueId value =
      add_op(graph, {OpKind::load_tensor, {}, attrs, "load_tensor." + weight.name, OpRole::transfer})[0];
  add_op(graph, {OpKind::lay_out_tensor, {value}, attrs, "lay_out." + weight.name, OpRole::transfer});
}

// Weights from disk; trained ones into their f32 master first. A fresh adapter is drawn, not read.
Graph build_load(const TrainProgram& program, const Graph& forward, const Recipe& recipe, const TrainSources& sources) {
  Graph graph;
  graph.phase = phase_names::kLoad;
  std::unordered_set<std::string> trained;
  std::unordered_set<std::string> streamed;
  for (const WeightOnDisk& weight : program.streamed) streamed.insert(weight.name);
  std::unordered_map<std::string_view, DType> types;
  for (const Value& value : forward.values)
    if (value.kind == ValueKind::parameter) types[value.name] = value.dtype;
  for (const TrainedParameter& parameter : program.trained) trained.insert(parameter.name);
  for (const ParameterSpec& spec : program.parameters) {
    if (trained.contains(spec.name)) continue;
    const auto type = types.find(spec.name);
    const DType dtype = type != types.end() ? type->second : recipe.precision;
    if (streamed.contains(spec.name)) {
      add_to_disk(graph, {spec.name, dtype, spec.shape}, sources.load_staging_bytes);
      continue;
    }
    const ValueId value = add_value(graph, {spec.name, dtype, spec.shape, ValueKind::parameter});
    add_transfer(graph, OpKind::load_tensor, value, load_staging_of(graph.value(value), sources.load_staging_bytes));
  }
  uint64_t stream = 0;
  for (const TrainedParameter& parameter : program.trained) {
    const ValueId master = add_value(graph, master_value(parameter));
    const bool fresh_adapter = trains_adapter(recipe.method) && sources.adapter_modules.empty();
    const bool is_magnitude = fresh_adapter && parameter.name.ends_with(".lora_magnitude_vector");
    if (is_magnitude) {
      // Made below, when all that it is made of is there.
    } else if (fresh_adapter) {
      const bool is_a = parameter.name.ends_with(kLoraASuffix);
      add_op(graph, {OpKind::init_tensor,
                     {master},
                     InitAttrs{is_a ? InitKind::kaiming_uniform : InitKind::zero, stream++},
                     "init." + parameter.name,
                     OpRole::transfer});
    } else {
      add_transfer(graph, OpKind::load_tensor, master, sources.load_staging_bytes);
    }
    add_compute_copy(graph, parameter, master, OpRole::transfer);
    for (Value& state : optimizer_state_values(parameter, optimizer_attrs(recipe))) add_clear(graph, std::move(state));
    if (parameter.clear_gradient && !recipe.optimizer_in_backward)
      add_clear(graph, {gradient_name(parameter.name), DType::f32, parameter.shape, ValueKind::gradient});
  }
  if (sources.adapter_modules.empty())
    for (const LoraModule& module : program.lora)
      if (module.dora) add_magnitude(graph, module);
  widen_half(graph);
  return graph;
}

// Everything a checkpoint holds: masters and optimizer state, as they lie in the arena.
Graph build_checkpoint(const TrainProgram& program, const Recipe& recipe, bool resume) {
  Graph graph;
  graph.phase = resume ? phase_names::kResume : phase_names::kSave;
  const OpKind kind = resume ? OpKind::load_tensor : OpKind::save_tensor;
  for (const TrainedParameter& parameter : program.trained) {
    const ValueId master = add_value(graph, master_value(parameter));
    add_transfer(graph, kind, master, 0);
    for (Value& state : optimizer_state_values(parameter, optimizer_attrs(recipe)))
      add_transfer(graph, kind, add_value(graph, std::move(state)), 0);
    if (resume) add_compute_copy(graph, parameter, master, OpRole::transfer);
  }
  return graph;
}

// The result: adapters as they are (f32), a full model narrowed through a staging buffer; what was trained under
// quantization as the step computed with it.
Graph build_export(const TrainProgram& program, const Recipe& recipe, const TrainSources& sources) {
  Graph graph;
  graph.phase = phase_names::kExport;
  const bool model = !trains_adapter(recipe.method);
  const int64_t staging = model ? sources.load_staging_bytes : 0;
  for (const TrainedParameter& parameter : program.trained)
    add_transfer(graph, OpKind::save_tensor,
                 add_value(graph, parameter.fake_quant.bits > 0 ? compute_value(parameter) : master_value(parameter)),
                 staging);
  for (const ParameterSpec& spec : program.parameters)
    if (model && spec.part == ParameterPart::buffer)
      add_transfer(graph, OpKind::save_tensor,
                   add_value(graph, {spec.name, DType::f32, spec.shape, ValueKind::parameter}), staging);
  return graph;
}

// What the recipe says of each trained parameter, beside the optimizer's own settings.
void set_training(std::vector<TrainedParameter>& trained, const Graph& graph, const Recipe& recipe) {
  std::unordered_map<std::string, bool> quantized;  // weights → stored (out, in)
  if (recipe.method == Method::qat)
    for (const LoraModule& module : select_lora_modules(graph, recipe.targets, 1, 1.0F))
      quantized[module.path + ".weight"] = !module.in_out;
  for (TrainedParameter& parameter : trained) {
    parameter.keep_master = recipe.master_weights;
    if (parameter.kind == ValueKind::adapter && !parameter.name.ends_with(kLoraASuffix))
      parameter.lr_scale = recipe.lora_plus_ratio;
    if (const auto found = quantized.find(parameter.name); found != quantized.end()) {
      const bool int8 = recipe.qat_type == QatType::int8;
      parameter.fake_quant = {int8 ? 8 : 4, int8 ? 0 : recipe.qat_group, found->second};
    }
  }
}

}  // namespace

double balance_weight(const ModelConfig& config, const Recipe& recipe) {
  const double weight = recipe.router_aux_loss.value_or(config.mixture.balance_weight);
  if (weight > 0 && (config.mixture.experts == 0 || config.latent.kv_rank > 0))
    throw caller_error("--router-aux-loss",
                       "is given, but " + config.architecture +
                           (config.mixture.experts == 0 ? " has no experts" : " has no such loss in transformers"),
                       "leave it out");
  return weight;
}

OptimizerAttrs optimizer_attrs(const Recipe& recipe) {
  OptimizerAttrs attrs;
  switch (recipe.optimizer) {
    case OptimizerKind::adamw:
      attrs.rule = UpdateRule::adamw;
      break;
    case OptimizerKind::adam:
      attrs.rule = UpdateRule::adam;
      break;
    case OptimizerKind::sgd:
      attrs.rule = UpdateRule::sgd;
      break;
    case OptimizerKind::adamw8bit:
      attrs.rule = UpdateRule::adamw8bit;
      break;
    case OptimizerKind::adafactor:
      attrs.rule = UpdateRule::adafactor;
      break;
  }
  attrs.state = recipe.optimizer_state;
  attrs.scale_parameter = recipe.scale_parameter;
  attrs.beta1 = recipe.beta1;
  attrs.beta2 = recipe.beta2;
  attrs.eps = recipe.eps;
  attrs.weight_decay = recipe.weight_decay;
  attrs.momentum = recipe.momentum;
  return attrs;
}

StepBase build_step_base(const ModelConfig& config, const Recipe& recipe, const TrainSources& sources,
                         int64_t micro_batch, const PassObserver& observer, bool verified) {
  StepBase base;
  PassWatch watch(observer, verified);

  // The model's own forward pass and loss, on one micro-batch.
  ForwardRequest request;
  request.batch = micro_batch;
  request.length = recipe.seq_len;
  request.compute = recipe.precision;
  request.balance_weight = balance_weight(config, recipe);
  ForwardGraph forward = build_forward(config, request);
  base.parameters = std::move(forward.parameters);
  base.inv_freq = std::move(forward.inv_freq);
  base.step = std::move(forward.graph);
  watch.passed("forward", base.step);

  if (recipe.method == Method::qlora) quantize(base.step, sources.packed);
  watch.passed("quantize", base.step);

  // Adapters come before autodiff: they are part of the function that is differentiated.
  base.lora = choose_modules(base.step, recipe, sources);
  if (!base.lora.empty()) apply_lora(base.step, base.lora);
  watch.passed("lora", base.step);
  base.forward = base.step;
  // Of training alone, so behind the copy that evaluates.
  add_lora_dropout(base.step, recipe.lora_dropout);
  watch.passed("lora_dropout", base.step);

  // Only what is trained gets gradients; the rest of the backward pass is never built.
  const std::vector<ValueId> trained = trained_values(base.step, recipe.method);
  for (const ValueId id : trained) {
    const Value& value = base.step.value(id);
    base.trained.push_back({value.name, value.shape, value.dtype, value.kind});
  }
  set_training(base.trained, base.step, recipe);
  if (recipe.optimizer_in_backward)
    base.fused = {optimizer_attrs(recipe), recipe.grad_clip, recipe.grad_clip > 0 || recipe.precision == DType::f16};
  autodiff(base.step, trained);
  watch.passed("autodiff", base.step);
  const std::unordered_set<std::string> started = mark_first_writes(base.step);
  for (TrainedParameter& parameter : base.trained)
    parameter.clear_gradient = !started.contains(gradient_name(parameter.name));
  watch.passed("first_write", base.step);
  return base;
}

void set_chunk_rows(Graph& graph, int64_t chunk_rows) {
  for (Op& op : graph.ops)
    if (auto* attrs = std::get_if<CrossEntropyAttrs>(&op.attrs))
      attrs->chunk_rows = std::min(chunk_rows, graph.value(op.operands[0]).shape[0]);
}

namespace {

Graph build_step_with(const StepBase& base, const TrainChoices& choices, PassWatch& watch, bool norm_pass) {
  Graph step = base.step;
  // After autodiff, because it needs to know which forward values the backward pass reads.
  recompute(step, choices.recompute_layers, choices.keep_attention);
  set_chunk_rows(step, choices.ce_chunk_rows);
  step.phase = phase_names::kTrainStep;
  watch.passed("recompute", step);
  // It takes the place of products that recompute made.
  share_products(step);
  watch.passed("share_product", step);
  // Behind all that reads weights: a parameter changes when nothing wants its old value any more.
  if (base.fused) {
    const GradientUse use = norm_pass                ? GradientUse::measure
                            : base.fused->two_passes ? GradientUse::update_by_norm
                                                     : GradientUse::update;
    fuse_update(step, base.trained, base.fused->attrs, base.fused->clip_norm, use);
    watch.passed("fuse_update", step);
  }
  if (norm_pass) step.phase = phase_names::kGradientNorm;
  // Both follow the order of the ops.
  if (choices.streamed_inputs) stream_inputs(step, choices.recompute_layers);
  watch.passed("stream_inputs", step);
  stream_weights(step, choices.streamed_layers);
  watch.passed("stream", step);
  // Last: it adds copies for single ops, of streamed weights too.
  widen_half(step);
  watch.passed("widen_half", step);
  return step;
}

}  // namespace

Graph build_step(const StepBase& base, const TrainChoices& choices, const PassObserver& observer, bool norm_pass) {
  PassWatch watch(observer);
  return build_step_with(base, choices, watch, norm_pass);
}

Graph build_step_unverified(const StepBase& base, const TrainChoices& choices) {
  const PassObserver nobody;
  PassWatch watch(nobody, false);
  return build_step_with(base, choices, watch, false);
}

TrainProgram build_train_program(const StepBase& base, const Recipe& recipe, const TrainSources& sources,
                                 const TrainChoices& choices) {
  TrainProgram program;
  program.parameters = base.parameters;
  program.trained = base.trained;
  program.lora = base.lora;
  program.inv_freq = base.inv_freq;
  Graph step = build_step(base, choices);
  for (const ValueId id : streamed_parameters(base.forward, choices.streamed_layers))
    program.streamed.push_back({base.forward.value(id).name, base.forward.value(id).bytes()});
  program.offloaded = offloaded_tensors(step);
  program.step_flops = total_flops(step);

  program.phases.push_back(build_load(program, base.forward, recipe, sources));
  if (base.fused && base.fused->two_passes) {
    Graph norm_pass = build_step(base, choices, {}, true);
    program.phases.push_back(std::move(norm_pass));
  }
  program.phases.push_back(std::move(step));
  if (!base.fused) program.phases.push_back(build_update(program.trained, optimizer_attrs(recipe), recipe.grad_clip));
  if (!recipe.eval_data.empty()) {
    program.phases.push_back(base.forward);
    program.phases.back().phase = phase_names::kEvaluate;
    program.phases.back().outputs.resize(1);  // -log p alone
    remove_dead_ops(program.phases.back());
    set_chunk_rows(program.phases.back(), choices.ce_chunk_rows);
    stream_weights(program.phases.back(), choices.streamed_layers);
    widen_half(program.phases.back());
  }
  program.phases.push_back(build_checkpoint(program, recipe, false));
  program.phases.push_back(build_checkpoint(program, recipe, true));
  program.phases.push_back(build_export(program, recipe, sources));
  for (const Graph& phase : program.phases) verify(phase);
  return program;
}

}  // namespace plimsoll
