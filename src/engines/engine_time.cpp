#include "engines/engine_time.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "engines/layout/pipeline_stages.h"

namespace plimsoll {
namespace {

// Parameters whose gradients and states one rank holds before ZeRO cuts them, of the pipeline stage with the most.
struct RankParameters {
  double dense = 0, expert = 0;  // all that are on the rank
  double trained = 0, trained_expert = 0;
};

RankParameters rank_parameters(const EngineRun& run, const ModelShape& model) {
  const auto tensor = static_cast<double>(run.layout.tensor), expert_ranks = static_cast<double>(run.layout.expert);
  const bool full = run.recipe.method == TuneMethod::full;
  RankParameters result;
  double adapters = 0;
  for (const auto& [shape, count] : model.groups) {
    result.dense += static_cast<double>(count * (shape.parameters - shape.expert_parameters));
    result.expert += static_cast<double>(count * shape.expert_parameters);
    if (!full) adapters += static_cast<double>(count * adapter_parameters(run.recipe, shape));
  }
  const auto stages = static_cast<double>(run.layout.pipeline);
  const double ends = static_cast<double>(std::max(model.embedding_parameters, model.head_parameters));
  result.expert /= tensor * expert_ranks * stages;
  result.dense =
      (result.dense / stages +
       (run.layout.pipeline == 1 ? static_cast<double>(model.embedding_parameters + model.head_parameters) : ends)) /
          tensor +
      result.expert;
  if (full) {
    result.trained = result.dense;
    result.trained_expert = result.expert;
  } else {
    result.trained = adapters / (tensor * stages);
    if (run.recipe.trains_embeddings)
      result.trained += static_cast<double>(model.embedding_parameters + model.vocab * model.hidden) / tensor;
  }
  result.dense -= result.expert;
  return result;
}

// Bytes that an optimizer's step reads and writes for each trained parameter of a rank; the norm of the gradients and
// clipping are in it (4 or 8 more passes of the gradient).
double optimizer_bytes(const EngineRecipe& recipe) {
  const bool half = recipe.compute == ComputeMode::bf16 || recipe.compute == ComputeMode::f16;
  const double element = half && recipe.method == TuneMethod::full && recipe.weights != WeightFormat::f32 ? 2 : 4;
  using Kind = decltype(recipe.optimizer);
  switch (recipe.optimizer) {
    case Kind::none:
      return 0;
    // Every pass of the formula over all tensors: 16 reads and writes.
    case Kind::adamw_foreach:
      return 18 * element;
    case Kind::adamw_fused:
      return 8 * element + 4;
    case Kind::adamw_8bit:
      return 4 * element + 6;
    case Kind::sgd_foreach:
      return 5 * element;
    case Kind::sgd_momentum_foreach:
      return 8 * element;
    case Kind::adafactor:
      return 16 * element;
    case Kind::muon:
      return 30 * element;
  }
  return 8 * element;
}

int64_t layers_on_chunk(const EngineLayout& layout, const ModelShape& model, int64_t chunks, int64_t chunk) {
  if (!layout.chunk_layers.empty()) return layout.chunk_layers[static_cast<size_t>(chunk)];
  const int64_t least = model.layers / chunks, more = model.layers % chunks;
  // What does not divide goes to the middle: the ends hold embedding and head.
  const int64_t first = (chunks - more) / 2;
  return least + (chunk >= first && chunk < first + more ? 1 : 0);
}

double exposed_seconds(double communication, double cover, bool overlaps, double cost) {
  if (!overlaps) return communication;
  return std::max(0.0, communication - cover) + cost * std::min(communication, cover);
}

struct DataParallel {
  double per_step = 0;         // exposed once a step
  double per_micro_batch = 0;  // exposed with every micro-batch
};

DataParallel data_parallel(const TimeQuestion& question, const ModelShape& model, double forward, double backward) {
  const EngineRun& run = *question.run;
  const EngineLayout& layout = run.layout;
  const EngineRecipe& recipe = run.recipe;
  const Fabric fabric = fabric_of(*question.device, question.constants);
  const RankParameters parameters = rank_parameters(run, model);
  DataParallel result;
  const double cost = question.constants.overlap_cost;
  const auto reduce = [&](double trained, double held, int64_t ranks, int64_t stride) {
    if (ranks <= 1) return;
    const int64_t in_node = ranks_in_node(fabric, ranks, stride);
    const double gradient = question.habits.gradient_bytes;
    if (layout.zero_stage >= 3) {
      const int64_t shard = layout.shard_ranks > 0 ? std::min(layout.shard_ranks, ranks) : ranks;
      const int64_t shard_in_node = ranks_in_node(fabric, shard, stride);
      const double gather = collective_seconds(fabric, Collective::all_gather, 2 * held, shard, shard_in_node);
      const double scatter =
          collective_seconds(fabric, Collective::reduce_scatter, gradient * trained, shard, shard_in_node);
      const double again = layout.reshard_after_forward ? gather : 0;
      result.per_micro_batch += exposed_seconds(gather, forward, question.habits.overlap_gather, cost) +
                                exposed_seconds(again + scatter, backward, question.habits.overlap_gather, cost);
      if (shard < ranks)
        result.per_step +=
            collective_seconds(fabric, Collective::all_reduce, gradient * trained / static_cast<double>(shard),
                               ranks / shard, ranks_in_node(fabric, ranks / shard, stride * shard));
      return;
    }
    if (layout.zero_stage == 0) {
      const double all = collective_seconds(fabric, Collective::all_reduce, gradient * trained, ranks, in_node);
      result.per_step += exposed_seconds(all, backward, question.habits.overlap_gradients, cost);
      return;
    }
    const double scatter = collective_seconds(fabric, Collective::reduce_scatter, gradient * trained, ranks, in_node);
    const double gather = collective_seconds(fabric, Collective::all_gather, 2 * trained, ranks, in_node);
    const double scattered = exposed_seconds(scatter, backward, question.habits.overlap_gradients, cost);
    if (layout.zero_stage == 2 && layout.pipeline == 1) result.per_micro_batch += scattered;
    else result.per_step += scattered;
    result.per_step += exposed_seconds(gather, forward, question.habits.overlap_gather, cost);
  };
  const int64_t data = layout.data * layout.context;
  const int64_t stride = layout.tensor;
  reduce(parameters.trained - parameters.trained_expert, parameters.dense, data, stride);
  if (parameters.expert > 0)
    reduce(parameters.trained_expert, parameters.expert, std::max<int64_t>(1, data / layout.expert),
           stride * layout.expert);
  (void)recipe;
  return result;
}

double optimizer_seconds(const TimeQuestion& question, const ModelShape& model) {
  const EngineRun& run = *question.run;
  const RankParameters parameters = rank_parameters(run, model);
  const int64_t data = run.layout.data * run.layout.context;
  const int64_t shard = run.layout.zero_stage == 0 ? 1 : run.layout.shard_ranks > 0 ? run.layout.shard_ranks : data;
  const double dense = (parameters.trained - parameters.trained_expert) / static_cast<double>(shard);
  const double expert =
      parameters.trained_expert / std::max(1.0, static_cast<double>(shard) / static_cast<double>(run.layout.expert));
  const KernelRates rates = kernel_rates(*question.device, question.constants);
  return stream_seconds(rates, optimizer_bytes(run.recipe) * (dense + expert));
}

double offload_seconds(const TimeQuestion& question, const ModelShape& model) {
  const EngineLayout& layout = question.run->layout;
  if (!layout.offload_optimizer && !layout.offload_parameters) return 0;
  if (question.device->host_link <= 0)
    throw caller_error(question.device->name, "the catalogue has no host_link for it, which offload needs",
                       "add it to a devices.csv of your own and give it with --catalog");
  const double rate = question.constants.link_efficiency * question.device->host_link;
  const RankParameters parameters = rank_parameters(*question.run, model);
  const double shard = layout.zero_stage == 0 ? 1.0 : static_cast<double>(layout.data * layout.context);
  const double fetches = 2 * 2 * parameters.dense / shard * static_cast<double>(question.run->recipe.grad_accum_steps);
  double bytes = 0;
  // Gradients go out and weights come back; with parameters, weights come in twice a micro-batch.
  if (layout.offload_optimizer) bytes += 4 * parameters.trained / shard;
  if (layout.offload_parameters) bytes += fetches;
  if (layout.offload_place == OffloadPlace::host) return bytes / rate;
  if (question.run->nvme_rate <= 0)
    throw caller_error("offload_to=nvme", "needs the rate of the NVMe",
                       "give what one node reads a second: --disk-rate 6GB");
  // Master weights and two moments in f32 are read and written, gradients once each; new weights are written once. The
  // ranks of a node share its NVMe. What is slower, disk or link, hides the other (Rajbhandari et al. 2021,
  // arXiv:2104.07857).
  double disk = 0;
  if (layout.offload_optimizer) disk += (2 * 12 + 2 * 4) * parameters.trained / shard;
  if (layout.offload_parameters) disk += fetches + 2 * parameters.trained / shard;
  const int64_t sharing = std::min(layout.devices(), fabric_of(*question.device, question.constants).node_devices);
  return std::max(bytes / rate, disk * static_cast<double>(std::max<int64_t>(1, sharing)) / question.run->nvme_rate);
}

void check_layout(const EngineRun& run, const ModelShape& model) {
  const EngineLayout& layout = run.layout;
  const auto refuse = [](const std::string& what, const std::string& way_out) {
    throw caller_error("layout", what, way_out);
  };
  if (layout.data < 1 || layout.tensor < 1 || layout.pipeline < 1 || layout.context < 1 || layout.expert < 1 ||
      layout.virtual_stages < 1)
    refuse("a size below 1", "give every size of the layout as 1 or more");
  if (!layout.chunk_layers.empty()) pipeline_chunks(layout, model.layers);
  else if (layout.pipeline * layout.virtual_stages > model.layers + (layout.virtual_stages > 1 ? 2 : 0))
    refuse(fmt::format("{} pipeline chunks for {} layers", layout.pipeline * layout.virtual_stages, model.layers),
           "at most one chunk a layer");
  if (run.recipe.micro_batch < 1 || run.recipe.seq_len < 1 || run.recipe.grad_accum_steps < 1)
    refuse("an empty batch", "give micro-batch, sequence length and accumulation as 1 or more");
}

}  // namespace

std::string_view cause_name(Cause cause) {
  constexpr std::array<std::string_view, kCauses> kNames = {
      "products",      "attention",       "element_wise",     "adapters",        "dequantize", "loss",
      "host",          "tensor_parallel", "context_parallel", "expert_parallel", "recompute",  "pipeline_bubble",
      "data_parallel", "optimizer",       "offload"};
  return kNames[static_cast<size_t>(cause)];
}

double CauseSeconds::sum() const {
  double total = 0;
  for (const double value : seconds) total += value;
  return total;
}

void CauseSeconds::add(const CauseSeconds& other, double times) {
  for (size_t i = 0; i < kCauses; ++i) seconds[i] += times * other.seconds[i];
}

StepParts step_parts(const TimeQuestion& question, const ModelShape& model) {
  StepParts parts;
  const auto sum = [](const LayerSeconds& layer) { return StageSeconds{layer.forward.sum(), layer.backward.sum()}; };
  for (const LayerGroup& group : model.groups) {
    parts.groups.push_back(layer_seconds(question, model, group.shape));
    parts.group_sums.push_back(sum(parts.groups.back()));
  }
  parts.embedding = embedding_seconds(question, model);
  parts.head = head_seconds(question, model);
  parts.embedding_sum = sum(parts.embedding);
  parts.head_sum = sum(parts.head);
  return parts;
}

PipelineProblem pipeline_problem(const TimeQuestion& question, const ModelShape& model, const StepParts& parts) {
  const EngineRecipe& recipe = question.run->recipe;
  const EngineLayout& layout = question.run->layout;
  const int64_t stages = layout.pipeline, chunks = stages * layout.virtual_stages;
  PipelineProblem problem;
  problem.stages = stages;
  problem.micro_batches = recipe.grad_accum_steps;
  problem.chunks.assign(static_cast<size_t>(chunks), StageSeconds{});
  size_t group = 0;
  int64_t used = 0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    StageSeconds& seconds = problem.chunks[static_cast<size_t>(chunk)];
    for (int64_t left = layers_on_chunk(layout, model, chunks, chunk); left > 0;) {
      const int64_t count = std::min(left, model.groups[group].count - used);
      seconds.forward += static_cast<double>(count) * parts.group_sums[group].forward;
      seconds.backward += static_cast<double>(count) * parts.group_sums[group].backward;
      left -= count;
      used += count;
      if (used == model.groups[group].count) ++group, used = 0;
    }
  }
  const auto add = [](StageSeconds& to, const StageSeconds& from) {
    to.forward += from.forward, to.backward += from.backward;
  };
  add(problem.chunks.front(), parts.embedding_sum);
  add(problem.chunks.back(), parts.head_sum);
  if (stages > 1) {
    const Fabric fabric = fabric_of(*question.device, question.constants);
    const double bytes = (recipe.compute == ComputeMode::f32 ? 4.0 : 2.0) *
                         static_cast<double>(recipe.micro_batch * recipe.seq_len) /
                         static_cast<double>(layout.context) * static_cast<double>(model.hidden) /
                         (layout.sequence_parallel ? static_cast<double>(layout.tensor) : 1.0);
    const bool outside = layout.devices() > fabric.node_devices;
    problem.transfer_seconds = collective_seconds(
        fabric, Collective::send, bytes, outside ? 2 * fabric.node_devices : 2, outside ? fabric.node_devices : 2);
  }
  return problem;
}

namespace {

struct AfterPipeline {
  double data_parallel = 0, optimizer = 0, offload = 0;
};

// What a step takes beside its pipeline. The first stage hides the collectives of its own gradients.
AfterPipeline after_pipeline(const TimeQuestion& question, const ModelShape& model, const PipelineProblem& problem,
                             double pipeline) {
  const EngineLayout& layout = question.run->layout;
  double forward = 0, backward = 0;
  for (size_t c = 0; c < problem.chunks.size(); c += static_cast<size_t>(problem.stages)) {
    forward += problem.chunks[c].forward;
    backward += problem.chunks[c].backward;
  }
  const DataParallel data = data_parallel(question, model, forward, backward);
  AfterPipeline after;
  after.data_parallel =
      data.per_step + static_cast<double>(question.run->recipe.grad_accum_steps) * data.per_micro_batch;
  after.optimizer = optimizer_seconds(question, model);
  after.offload = offload_seconds(question, model);
  const int64_t in_node = fabric_of(*question.device, question.constants).node_devices;
  const double nodes =
      std::max(1.0, static_cast<double>(layout.devices()) / static_cast<double>(std::max<int64_t>(1, in_node)));
  after.data_parallel += question.constants.straggler * std::log2(nodes) *
                         (pipeline + after.data_parallel + after.optimizer + after.offload);
  return after;
}

}  // namespace

double step_seconds_of(const TimeQuestion& question, const ModelShape& model, const PipelineProblem& problem,
                       double pipeline) {
  const AfterPipeline after = after_pipeline(question, model, problem, pipeline);
  return pipeline + after.data_parallel + after.optimizer + after.offload;
}

EngineTime estimate_engine_time(const TimeQuestion& question) {
  return estimate_engine_time(question, shape_of(question.run->model));
}

EngineTime estimate_engine_time(const TimeQuestion& question, const ModelShape& model) {
  check_layout(*question.run, model);
  return estimate_engine_time(question, model, step_parts(question, model));
}

EngineTime estimate_engine_time(const TimeQuestion& question, const ModelShape& model, const StepParts& parts) {
  const EngineRun& run = *question.run;
  const EngineRecipe& recipe = run.recipe;
  const EngineLayout& layout = run.layout;
  check_layout(run, model);
  const int64_t stages = layout.pipeline, chunks = stages * layout.virtual_stages;
  const auto micro_batches = static_cast<double>(recipe.grad_accum_steps);
  const PipelineProblem problem = pipeline_problem(question, model, parts);

  // By cause, of each stage.
  std::vector<CauseSeconds> stage_causes(static_cast<size_t>(stages));
  size_t group = 0;
  int64_t used = 0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    CauseSeconds& causes = stage_causes[static_cast<size_t>(chunk % stages)];
    const auto add = [&](const LayerSeconds& part) {
      causes.add(part.forward, micro_batches);
      causes.add(part.backward, micro_batches);
    };
    for (int64_t i = layers_on_chunk(layout, model, chunks, chunk); i > 0; --i) {
      add(parts.groups[group]);
      if (++used == model.groups[group].count) ++group, used = 0;
    }
    if (chunk == 0) add(parts.embedding);
    if (chunk + 1 == chunks) add(parts.head);
  }
  EngineTime time;
  double pipeline = 0;
  if (question.timeline) {
    PipelineResult result = simulate_pipeline(problem, true);
    pipeline = result.seconds;
    time.timeline = std::move(result.events);
  } else {
    pipeline = pipeline_seconds(problem);
  }
  const auto slowest = std::max_element(stage_causes.begin(), stage_causes.end(),
                                        [](const auto& a, const auto& b) { return a.sum() < b.sum(); });
  const AfterPipeline after = after_pipeline(question, model, problem, pipeline);
  time.shares = *slowest;
  time.shares[Cause::pipeline_bubble] = std::max(0.0, pipeline - slowest->sum());
  time.shares[Cause::data_parallel] = after.data_parallel;
  time.shares[Cause::optimizer] = after.optimizer;
  time.shares[Cause::offload] = after.offload;
  time.step_seconds = pipeline + after.data_parallel + after.optimizer + after.offload;
  time.low = question.constants.interval_low * time.step_seconds;
  time.high = question.constants.interval_high * time.step_seconds;

  const double sequences = static_cast<double>(recipe.micro_batch) * micro_batches * static_cast<double>(layout.data);
  time.tokens_per_step = sequences * static_cast<double>(recipe.seq_len);
  const auto devices = static_cast<double>(layout.devices());
  time.tokens_per_second_per_device = time.tokens_per_step / time.step_seconds / devices;
  const double forward_work = forward_flops(model, time.tokens_per_step, static_cast<double>(recipe.seq_len));
  time.model_flops = (recipe.method == TuneMethod::full ? 3.0 : 2.0) * forward_work;
  time.hardware_flops = time.model_flops + (recipe.recompute == RecomputeKind::full ? forward_work : 0.0);
  const double peak = recipe.compute == ComputeMode::fp8 && question.device->fp8 > 0 ? question.device->fp8
                      : question.device->half_peak() > 0                             ? question.device->half_peak()
                                                                                     : question.device->fp32;
  time.mfu = time.model_flops / (time.step_seconds * devices * peak);
  time.hfu = time.hardware_flops / (time.step_seconds * devices * peak);
  return time;
}

std::string chrome_trace(const EngineTime& time) {
  nlohmann::ordered_json events = nlohmann::ordered_json::array();
  for (const PipelineEvent& event : time.timeline)
    events.push_back({{"name", fmt::format("{} {}", event.backward ? "backward" : "forward", event.micro_batch)},
                      {"cat", event.backward ? "backward" : "forward"},
                      {"ph", "X"},
                      {"ts", event.start * 1e6},
                      {"dur", (event.end - event.start) * 1e6},
                      {"pid", 0},
                      {"tid", event.stage},
                      {"args", {{"chunk", event.chunk}, {"micro_batch", event.micro_batch}}}});
  double end = 0;
  for (const PipelineEvent& event : time.timeline) end = std::max(end, event.end);
  for (const Cause cause : {Cause::data_parallel, Cause::optimizer, Cause::offload}) {
    if (time.shares[cause] <= 0) continue;
    events.push_back({{"name", cause_name(cause)},
                      {"cat", "step"},
                      {"ph", "X"},
                      {"ts", end * 1e6},
                      {"dur", time.shares[cause] * 1e6},
                      {"pid", 0},
                      {"tid", 0}});
    end += time.shares[cause];
  }
  return nlohmann::ordered_json{{"traceEvents", events}, {"displayTimeUnit", "ms"}}.dump();
}

}  // namespace plimsoll
