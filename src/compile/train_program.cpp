#include "compile/train_program.h"

#include <algorithm>
#include <chrono>
#include <unordered_set>

#include "base/error.h"
#include "formats/tensor_index.h"
#include "ops/op_def.h"
#include "passes/autodiff.h"
#include "passes/first_write.h"
#include "passes/quantize.h"
#include "passes/recompute.h"
#include "passes/rewrite.h"
#include "passes/share_product.h"
#include "passes/stream.h"

namespace plimsoll {
namespace {

// After each pass: verify, and show the graph to whoever wants to see it.
class PassWatch {
 public:
  explicit PassWatch(const PassObserver& observer) : observer_(observer) {}
  void passed(std::string_view pass, const Graph& graph) {
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    verify(graph);
    if (observer_) observer_(pass, graph, seconds);
    start_ = Clock::now();
  }

 private:
  using Clock = std::chrono::steady_clock;
  const PassObserver& observer_;
  Clock::time_point start_ = Clock::now();
};

std::vector<LoraModule> choose_modules(const Graph& graph, const Recipe& recipe, const TrainSources& sources) {
  if (recipe.method == Method::full) return {};
  if (!sources.adapter_modules.empty()) return sources.adapter_modules;
  return select_lora_modules(graph, recipe.targets, recipe.rank, lora_scale(recipe.alpha, recipe.rank, recipe.rslora));
}

// The persistent values that training changes, in graph order.
std::vector<ValueId> trained_values(const Graph& graph, Method method) {
  const ValueKind kind = method == Method::full ? ValueKind::parameter : ValueKind::adapter;
  std::vector<ValueId> trained;
  for (size_t i = 0; i < graph.values.size(); ++i)
    if (graph.values[i].kind == kind && graph.values[i].trainable) trained.push_back(static_cast<ValueId>(i));
  return trained;
}

void set_chunk_rows(Graph& graph, int64_t chunk_rows) {
  for (Op& op : graph.ops)
    if (auto* attrs = std::get_if<CrossEntropyAttrs>(&op.attrs))
      attrs->chunk_rows = std::min(chunk_rows, graph.value(op.operands[0]).shape[0]);
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

void add_cast(Graph& graph, ValueId source, ValueId target) {
  add_op(graph, {OpKind::cast, {source, target}, {}, "cast." + graph.value(target).name, OpRole::transfer});
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
    const bool fresh_adapter = recipe.method != Method::full && sources.adapter_modules.empty();
    if (fresh_adapter) {
      const bool is_a = parameter.name.ends_with(".lora_A.weight");
      add_op(graph, {OpKind::init_tensor,
                     {master},
                     InitAttrs{is_a ? InitKind::kaiming_uniform : InitKind::zero, stream++},
                     "init." + parameter.name,
                     OpRole::transfer});
    } else {
      add_transfer(graph, OpKind::load_tensor, master, sources.load_staging_bytes);
    }
    if (parameter.compute != DType::f32) add_cast(graph, master, add_value(graph, compute_value(parameter)));
    for (Value& state : optimizer_state_values(parameter, optimizer_attrs(recipe))) add_clear(graph, std::move(state));
    if (parameter.clear_gradient)
      add_clear(graph, {gradient_name(parameter.name), DType::f32, parameter.shape, ValueKind::gradient});
  }
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
    if (resume && parameter.compute != DType::f32) add_cast(graph, master, add_value(graph, compute_value(parameter)));
  }
  return graph;
}

// The result: adapters as they are (f32), a full model narrowed through a staging buffer.
Graph build_export(const TrainProgram& program, const Recipe& recipe, const TrainSources& sources) {
  Graph graph;
  graph.phase = phase_names::kExport;
  const int64_t staging = recipe.method == Method::full ? sources.load_staging_bytes : 0;
  for (const TrainedParameter& parameter : program.trained)
    add_transfer(graph, OpKind::save_tensor, add_value(graph, master_value(parameter)), staging);
  for (const ParameterSpec& spec : program.parameters)
    if (recipe.method == Method::full && spec.part == ParameterPart::buffer)
      add_transfer(graph, OpKind::save_tensor,
                   add_value(graph, {spec.name, DType::f32, spec.shape, ValueKind::parameter}), staging);
  return graph;
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
  }
  attrs.beta1 = recipe.beta1;
  attrs.beta2 = recipe.beta2;
  attrs.eps = recipe.eps;
  attrs.weight_decay = recipe.weight_decay;
  attrs.momentum = recipe.momentum;
  return attrs;
}

double total_flops(const Graph& graph, bool with_recompute) {
  double flops = 0;
  for (const Op& op : graph.ops)
    if (with_recompute || op.role != OpRole::recompute) flops += op_cost(graph, op).flops;
  return flops;
}

StepBase build_step_base(const ModelConfig& config, const Recipe& recipe, const TrainSources& sources,
                         int64_t micro_batch, const PassObserver& observer) {
  StepBase base;
  PassWatch watch(observer);

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

  // Only what is trained gets gradients; the rest of the backward pass is never built.
  const std::vector<ValueId> trained = trained_values(base.step, recipe.method);
  for (const ValueId id : trained) {
    const Value& value = base.step.value(id);
    base.trained.push_back({value.name, value.shape, value.dtype, value.kind});
  }
  autodiff(base.step, trained);
  watch.passed("autodiff", base.step);
  const std::unordered_set<std::string> started = mark_first_writes(base.step);
  for (TrainedParameter& parameter : base.trained)
    parameter.clear_gradient = !started.contains(gradient_name(parameter.name));
  watch.passed("first_write", base.step);
  return base;
}

Graph build_step(const StepBase& base, const TrainChoices& choices, const PassObserver& observer) {
  PassWatch watch(observer);
  Graph step = base.step;
  // After autodiff, because it needs to know which forward values the backward pass reads.
  recompute(step, choices.recompute_layers);
  set_chunk_rows(step, choices.ce_chunk_rows);
  step.phase = phase_names::kTrainStep;
  watch.passed("recompute", step);
  // It takes the place of products that recompute made.
  share_products(step);
  watch.passed("share_product", step);
  // Last: it follows the order of the ops.
  stream_weights(step, choices.streamed_layers);
  watch.passed("stream", step);
  return step;
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
  program.step_flops = total_flops(step, false);

  program.phases.push_back(build_load(program, base.forward, recipe, sources));
  program.phases.push_back(std::move(step));
  program.phases.push_back(build_update(program.trained, optimizer_attrs(recipe), recipe.grad_clip));
  if (!recipe.eval_data.empty()) {
    program.phases.push_back(base.forward);
    program.phases.back().phase = phase_names::kEvaluate;
    program.phases.back().outputs.resize(1);  // -log p alone
    remove_dead_ops(program.phases.back());
    set_chunk_rows(program.phases.back(), choices.ce_chunk_rows);
    stream_weights(program.phases.back(), choices.streamed_layers);
  }
  program.phases.push_back(build_checkpoint(program, recipe, false));
  program.phases.push_back(build_checkpoint(program, recipe, true));
  program.phases.push_back(build_export(program, recipe, sources));
  for (const Graph& phase : program.phases) verify(phase);
  return program;
}

TrainProgram build_train_program(const ModelConfig& config, const Recipe& recipe, const TrainSources& sources,
                                 const TrainChoices& choices) {
  return build_train_program(build_step_base(config, recipe, sources, choices.micro_batch), recipe, sources, choices);
}

}  // namespace plimsoll
