#include "quantize/layerwise.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "formats/number_conversion.h"
#include "ops/op_def.h"
#include "passes/rewrite.h"
#include "quantize/awq.h"
#include "quantize/folder_formats.h"
#include "quantize/gptq.h"
#include "quantize/layer_inputs.h"
#include "quantize/layer_stream.h"
#include "setup/inference.h"
#include "setup/weight_loader.h"

namespace plimsoll {
namespace {

constexpr const char* kObserve = "observe";
constexpr const char* kForward = "forward";
constexpr const char* kSolve = "solve";
constexpr const char* kSave = "save";
constexpr const char* kScratch = "scratch";

// The piece runs in bf16, as models are calibrated in the field; rounding works on f32 copies of its parameters.
constexpr DType kCompute = DType::bf16;
std::string master_name(const std::string& parameter) { return "master." + parameter; }
std::string hessian_name(size_t index) { return "hessian." + std::to_string(index); }
std::string groups_name(const std::string& weight) { return "groups." + weight; }

struct PieceWork {
  std::vector<SharedInput> shared;
  std::vector<ParameterSpec> saved;  // of the target's order
  RunPlan plan;
};

// The phases of every piece, one piece at a time.
class LayerwisePlan {
 public:
  LayerwisePlan(const ModelFiles& model, const QuantizeOptions& options, const QuantizedTarget& target, int threads)
      : model_(model),
        options_(options),
        target_(target),
        threads_(threads),
        stream_(model.config, options.seq_len, kCompute),
        formats_(packed_formats_of(model, options)) {
    // A tensor is written with the first piece that has it.
    size_t next = 0;
    const std::vector<ParameterSpec>& order = target.order();
    saved_.resize(stream_.pieces().size());
    for (size_t p = 0; p < stream_.pieces().size(); ++p)
      while (next < order.size() && stream_.pieces()[p].graph.find(order[next].name) != kNoValue)
        saved_[p].push_back(order[next++]);
    PLIMSOLL_CHECK(next == order.size(), "the target's order is that of the layers");
  }

  const LayerStream& stream() const { return stream_; }
  const std::map<std::string, PackedFormat>& formats() const { return formats_; }
  bool is_last(size_t p) const { return p + 1 == stream_.pieces().size(); }

  PieceWork work(size_t p) const {
    PieceWork work;
    const ForwardPiece& piece = stream_.pieces()[p];
    work.shared = find_shared_inputs(piece, formats_);
    work.saved = saved_[p];
    std::vector<Graph> phases;
    if (!work.shared.empty()) phases.push_back(observing(piece, work.shared));
    if (!is_last(p)) phases.push_back(forward(piece));
    if (!work.shared.empty()) phases.push_back(solving(work.shared));
    phases.push_back(saving(work));
    work.plan = plan_piece(std::move(phases), model_.tensors, threads_);
    return work;
  }

  int64_t arena_bytes() const {
    int64_t bytes = 0;
    for (size_t p = 0; p < stream_.pieces().size(); ++p) bytes = std::max(bytes, work(p).plan.arena_bytes);
    return bytes;
  }

 private:
  static std::map<std::string, PackedFormat> packed_formats_of(const ModelFiles& model,
                                                               const QuantizeOptions& options) {
    PLIMSOLL_CHECK(options.type.kind == QuantizeType::Kind::packed, "calibration makes folders");
    return folder_formats(model.config, options.type);
  }

  static Graph forward(const ForwardPiece& piece) {
    Graph graph = piece.graph;
    graph.phase = kForward;
    return graph;
  }

  // The piece, and Σ x xᵀ of every shared input behind its first reader.
  static Graph observing(const ForwardPiece& piece, const std::vector<SharedInput>& shared) {
    Graph graph = piece.graph;
    graph.phase = kObserve;
    std::vector<ValueId> sums;
    for (size_t i = 0; i < shared.size(); ++i)
      sums.push_back(
          add_value(graph, {hessian_name(i), DType::f32, {shared[i].size, shared[i].size}, ValueKind::gradient}));
    std::vector<bool> seen(shared.size(), false);
    std::vector<Op> ops;
    for (Op& op : graph.ops) {
      const bool linear = op.kind == OpKind::linear;
      const ValueId input = linear ? op.operands[0] : kNoValue;
      ops.push_back(std::move(op));
      for (size_t i = 0; linear && i < shared.size(); ++i) {
        if (shared[i].input != input || seen[i]) continue;
        seen[i] = true;
        Op sum;
        sum.kind = OpKind::linear_grad_weight;
        sum.operands = {input, input, sums[i]};
        sum.attrs = LinearAttrs{};
        sum.name = "sum." + hessian_name(i);
        ops.push_back(std::move(sum));
      }
    }
    set_ops(graph, std::move(ops));
    return graph;
  }

  // No op: the host works here. Grids stay until they are written.
  Graph solving(const std::vector<SharedInput>& shared) const {
    Graph graph;
    graph.phase = kSolve;
    int64_t scratch = 0;
    for (size_t i = 0; i < shared.size(); ++i) {
      const int64_t size = shared[i].size;
      scratch = std::max(scratch, options_.method == CalibrationMethod::gptq
                                      ? size * size * static_cast<int64_t>(sizeof(float))
                                      : awq_scratch_bytes(size, threads_));
    }
    add_value(graph, {kScratch, DType::u8, {scratch}, ValueKind::gradient});
    return graph;
  }

  Graph saving(const PieceWork& work) const {
    Graph graph;
    graph.phase = kSave;
    for (const SharedInput& shared : work.shared)
      for (const std::string& weight : shared.weights) {
        const ParameterSpec& spec = *std::find_if(work.saved.begin(), work.saved.end(),
                                                  [&](const ParameterSpec& s) { return s.name == weight; });
        const int64_t groups = spec.shape[0] * (spec.shape[1] / formats_.at(weight).group);
        add_value(graph, {groups_name(weight),
                          DType::u8,
                          {groups * static_cast<int64_t>(sizeof(AffineGroup))},
                          ValueKind::gradient});
      }
    for (const ParameterSpec& spec : work.saved) {
      const ValueId weight = add_value(graph, {master_name(spec.name), DType::f32, spec.shape, ValueKind::parameter});
      add_op(graph, {OpKind::save_tensor,
                     {weight},
                     TransferAttrs{spec.name, target_.staging_bytes(spec), DType::f32, {}},
                     "save." + spec.name,
                     OpRole::transfer});
    }
    return graph;
  }

  const ModelFiles& model_;
  const QuantizeOptions& options_;
  const QuantizedTarget& target_;
  int threads_;
  LayerStream stream_;
  std::map<std::string, PackedFormat> formats_;
  std::vector<std::vector<ParameterSpec>> saved_;  // by piece
};

// Values of a piece where they lie in the arena.
class PieceValues {
 public:
  PieceValues(const PieceWork& work, const Arena& arena) : plan_(work.plan), arena_(arena) {
    for (const ExecutionPlan& phase : plan_.phases)
      for (const Value& value : phase.graph.values)
        if (is_persistent(value.kind)) shapes_[value.name] = value.shape;
  }
  template <typename T>
  T* data(const std::string& name) const {
    return reinterpret_cast<T*>(arena_.data() + plan_.persistent_offset.at(name));
  }
  float* master(const std::string& parameter) const { return data<float>(master_name(parameter)); }
  // What the piece computes with, from the f32 copies.
  void narrow() const {
    for (const auto& [name, shape] : shapes_) {
      const auto narrow = shapes_.find(name.starts_with("master.") ? stored_name_of(name) : "");
      if (narrow == shapes_.end()) continue;
      const std::span<const float> values(data<float>(name), static_cast<size_t>(shape.elements()));
      encode_values(kCompute, values, data<std::byte>(narrow->first));
    }
  }
  std::span<std::byte> bytes(const std::string& name) const {
    return {data<std::byte>(name), static_cast<size_t>(shapes_.at(name).elements())};
  }
  const Shape& shape(const std::string& name) const { return shapes_.at(name); }

 private:
  const RunPlan& plan_;
  const Arena& arena_;
  std::map<std::string, Shape> shapes_;
};

std::map<std::string, SquaredError> solve_gptq(const QuantizeOptions& options, const PieceWork& work,
                                               const PieceValues& values,
                                               const std::map<std::string, PackedFormat>& formats, ThreadPool& pool) {
  const GptqOptions gptq{options.clipping, options.percentile, options.damping, options.act_order};
  auto* upper = values.data<float>(kScratch);
  std::map<std::string, SquaredError> errors;
  for (size_t i = 0; i < work.shared.size(); ++i) {
    const int64_t size = work.shared[i].size;
    const GptqFactor factor = factor_hessian(gptq, size, values.data<float>(hessian_name(i)), upper, pool);
    for (const std::string& weight : work.shared[i].weights)
      errors[weight] = round_gptq(gptq, formats.at(weight), factor, upper, values.shape(weight)[0], size,
                                  values.master(weight), values.data<AffineGroup>(groups_name(weight)), pool);
  }
  return errors;
}

// Multiplies columns of the linears, and takes it back in front of them.
void fold(const SharedInput& shared, const PieceValues& values, std::span<const float> scales) {
  for (const std::string& weight : shared.weights) {
    auto* at = values.master(weight);
    for (int64_t row = 0; row < values.shape(weight)[0]; ++row)
      for (int64_t j = 0; j < shared.size; ++j) at[row * shared.size + j] *= scales[static_cast<size_t>(j)];
  }
  // By entry of what is in front; columns that share one have one factor.
  std::map<int32_t, float> by_place;
  for (size_t j = 0; j < shared.places.size(); ++j) by_place[shared.places[j]] = scales[j];
  for (size_t i = 0; i < shared.vectors.size(); ++i) {
    auto* at = values.master(shared.vectors[i]);
    const float offset = i == 0 ? shared.weight_offset : 0;
    for (const auto& [place, scale] : by_place) at[place] = (offset + at[place]) / scale - offset;
  }
  if (shared.matrix.empty()) return;
  auto* at = values.master(shared.matrix);
  const int64_t width = values.shape(shared.matrix)[1];
  for (const auto& [place, scale] : by_place)
    for (int64_t j = 0; j < width; ++j) at[place * width + j] /= scale;
}

void solve_awq(const PieceWork& work, const PieceValues& values, const std::map<std::string, PackedFormat>& formats,
               ThreadPool& pool) {
  const auto linears_of = [&](const SharedInput& shared) {
    std::vector<AwqLinear> linears;
    for (const std::string& weight : shared.weights)
      linears.push_back({values.master(weight), values.shape(weight)[0], formats.at(weight)});
    return linears;
  };
  for (size_t i = 0; i < work.shared.size(); ++i) {
    const SharedInput& shared = work.shared[i];
    if (shared.places.empty()) continue;
    auto* hessian = values.data<float>(hessian_name(i));
    const std::vector<float> scales =
        search_awq_scales(linears_of(shared), shared.size, hessian, shared.places, values.bytes(kScratch), pool);
    fold(shared, values, scales);
    pool.parallel_for(shared.size, [&](int64_t row, int) {  // the inputs are smaller by the factor now
      for (int64_t j = 0; j < shared.size; ++j)
        hessian[row * shared.size + j] /= scales[static_cast<size_t>(row)] * scales[static_cast<size_t>(j)];
    });
  }
  // Rows of a linear may have been divided for the one behind it: grids come last.
  for (size_t i = 0; i < work.shared.size(); ++i) {
    const SharedInput& shared = work.shared[i];
    const std::vector<AwqLinear> linears = linears_of(shared);
    for (size_t k = 0; k < linears.size(); ++k)
      choose_clipped_groups(linears[k], shared.size, values.data<float>(hessian_name(i)),
                            values.data<AffineGroup>(groups_name(shared.weights[k])), pool);
  }
}

}  // namespace

int64_t layerwise_bytes(const ModelFiles& model, const QuantizeOptions& options, const QuantizedTarget& target,
                        int threads) {
  return LayerwisePlan(model, options, target, threads).arena_bytes();
}

void quantize_layerwise(const ModelFiles& model, const QuantizeOptions& options, QuantizedTarget& target,
                        ThreadPool& pool) {
  const LayerwisePlan layers(model, options, target, pool.threads());
  const TextBatches batches = TextBatches::joined(model, options.calibrate, options.seq_len, options.calibrate_rows);
  const Arena arena(layers.arena_bytes());
  const LayerStream& stream = layers.stream();
  const bool gptq = options.method == CalibrationMethod::gptq;
  std::unique_ptr<Carried> before;
  for (size_t p = 0; p < stream.pieces().size(); ++p) {
    const ForwardPiece& piece = stream.pieces()[p];
    const PieceWork work = layers.work(p);
    const auto executor = [&](const char* phase) {
      return Executor(work.plan.phase(phase), arena, cpu_backend(), pool);
    };
    load_weights(work.plan, arena, pool, model, {});
    std::unique_ptr<Carried> next;
    if (!layers.is_last(p)) next = std::make_unique<Carried>(piece);
    const bool observes = !work.shared.empty();
    // What goes on to the next piece: with AWQ what the original gives, with GPTQ what is left after rounding.
    if (observes) stream.run(piece, executor(kObserve), batches, before.get(), gptq ? nullptr : next.get());
    const PieceValues values(work, arena);
    std::map<std::string, SquaredError> errors;
    if (observes && gptq) errors = solve_gptq(options, work, values, layers.formats(), pool);
    if (observes && !gptq) solve_awq(work, values, layers.formats(), pool);
    if (gptq) values.narrow();
    if (next && (gptq || !observes)) stream.run(piece, executor(kForward), batches, before.get(), next.get());
    for (const SharedInput& shared : work.shared)
      for (const std::string& weight : shared.weights) {
        const std::span bytes = values.bytes(groups_name(weight));
        target.set_groups(weight,
                          {reinterpret_cast<const AffineGroup*>(bytes.data()), bytes.size() / sizeof(AffineGroup)},
                          errors.contains(weight) ? std::optional(errors.at(weight)) : std::nullopt);
      }
    RunState state;
    state.host = &target;
    executor(kSave).run(state);
    before = std::move(next);
    if (options.on_progress)
      options.on_progress("layer", static_cast<int64_t>(p) + 1, static_cast<int64_t>(stream.pieces().size()));
  }
}

}  // namespace plimsoll
