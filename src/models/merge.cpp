#include "models/merge.h"

#include <algorithm>
#include <filesystem>
#include <unordered_map>

#include "arch/architecture.h"
#include "base/bytes.h"
#include "base/error.h"
#include "compile/run_plan.h"
#include "formats/peft.h"
#include "models/gguf_target.h"
#include "models/model_folder.h"
#include "ops/op_def.h"
#include "setup/inference.h"
#include "setup/weight_loader.h"

namespace plimsoll {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMergePhase = "merge";
constexpr int64_t kStagingBytes = 4 << 20;

// One tensor after another, in the order of the target: load, add s · B A where the adapter has it (and scale, DoRA),
// save. Every tensor dies before the next one is loaded, so the phase needs the bytes of the largest.
Graph build_merge_phase(const std::vector<ParameterSpec>& order, const AdapterSource& adapter, int64_t load_staging,
                        int64_t save_staging) {
  Graph graph;
  graph.phase = kMergePhase;
  std::unordered_map<std::string, const LoraModule*> modules;
  for (const LoraModule& module : adapter.modules) modules[module.path + ".weight"] = &module;
  const auto load = [&](const std::string& name, const Shape& shape) {
    return add_op(graph, {OpKind::load_tensor,
                          {},
                          TransferAttrs{name, load_staging, DType::f32, shape},
                          "load." + name,
                          OpRole::transfer})[0];
  };
  for (const ParameterSpec& tensor : order) {
    ValueId weight = load(tensor.name, tensor.shape);
    if (const auto found = modules.find(tensor.name); found != modules.end()) {
      const LoraModule& module = *found->second;
      const ValueId a = load(peft_tensor_name(module.path, 'A'), {module.rank, tensor.shape[tensor.in_out ? 0 : 1]});
      const ValueId b = load(peft_tensor_name(module.path, 'B'), {tensor.shape[tensor.in_out ? 1 : 0], module.rank});
      LinearAttrs attrs;  // B A, or Aᵀ Bᵀ for a weight that is stored (in, out)
      attrs.alpha = module.scale;
      attrs.transpose_x = attrs.transpose_weight = tensor.in_out;
      attrs.has_addend = true;
      const std::string name = "merge." + tensor.name;
      const auto add = [&](OpKind kind, std::vector<ValueId> operands, OpAttrs with) {
        return add_op(graph, {kind, std::move(operands), std::move(with), name, OpRole::transfer})[0];
      };
      const ValueId norm =
          module.dora ? add(OpKind::dora_norm, {weight, a, b}, DoraNormAttrs{module.scale, !tensor.in_out}) : kNoValue;
      weight = add(OpKind::linear, {tensor.in_out ? a : b, tensor.in_out ? b : a, weight}, attrs);
      if (module.dora) {
        const ValueId magnitude = load(peft_magnitude_name(module.path), graph.value(norm).shape);
        weight = add(OpKind::scale_columns, {weight, magnitude, norm}, ScaleColumnsAttrs{!tensor.in_out, false});
      }
      modules.erase(found);
    }
    add_op(graph, {OpKind::save_tensor,
                   {weight},
                   TransferAttrs{tensor.name, save_staging, DType::f32, {}},
                   "save." + tensor.name,
                   OpRole::transfer});
  }
  if (!modules.empty())
    throw caller_error("--adapter", "adapts " + modules.begin()->second->path + ", which the model does not have",
                       "check that the adapter belongs to this model");
  return graph;
}

// Reads from the model and the adapter, writes to the target.
class MergeHost : public HostServices {
 public:
  MergeHost(WeightLoader& loader, HostServices& target) : loader_(loader), target_(target) {}
  void load(const std::string& tensor, const Value& value, std::span<std::byte> out,
            std::span<std::byte> staging) override {
    loader_.load(tensor, value, out, staging);
  }
  void save(const std::string& tensor, const Value& value, std::span<const std::byte> data,
            std::span<std::byte> staging) override {
    target_.save(tensor, value, data, staging);
  }

 private:
  WeightLoader& loader_;
  HostServices& target_;
};

struct MergeRun {
  ModelFiles model;
  AdapterSource adapter;
  ThreadPool pool;

  explicit MergeRun(const MergeOptions& options)
      : model(open_runnable_model(options.model)),
        adapter(open_adapter_source(options.adapter)),
        pool(threads_or_all(0)) {}

  void run(const std::vector<ParameterSpec>& order, int64_t save_staging, HostServices& target) {
    std::vector<Graph> phases;
    phases.push_back(build_merge_phase(order, adapter, load_staging_bytes(model.tensors), save_staging));
    verify(phases.front());
    const RunPlan plan = plan_memory(std::move(phases), [this](const Graph& graph, const Op& op) {
      return cpu_backend().workspace_bytes(graph, op, pool.threads());
    });
    const Arena arena(plan.arena_bytes);
    WeightLoader loader(model.tensors, adapter.tensors());
    MergeHost host(loader, target);
    RunState state;
    state.host = &host;
    Executor(plan.phase(kMergePhase), arena, cpu_backend(), pool).run(state);
  }
};

void merge_to_gguf(MergeRun& run, const MergeOptions& options) {
  const GgufFileType* type = find_gguf_file_type(options.type);
  PLIMSOLL_CHECK(type != nullptr, "a type of GGUF");
  const std::vector<ParameterSpec> parameters = list_parameters(run.model.config);
  const GgufExport plan = plan_gguf_file(run.model, parameters, *type, options.target);
  const std::vector<ParameterSpec> order = gguf_order(plan, parameters);
  int64_t staging = kStagingBytes;
  for (const GgufExportTensor& tensor : plan.tensors)
    if (!tensor.hf_name.empty()) staging = std::max(staging, gguf_staging_bytes(tensor));
  GgufTarget target(options.target, plan, run.pool);
  run.run(order, staging, target);
  target.finish();
}

void merge_to_folder(MergeRun& run, const MergeOptions& options) {
  const DType type = *dtype_from_name(options.type);
  std::vector<SafetensorsOutput> entries;
  const std::vector<ParameterSpec> order = list_parameters(run.model.config);
  for (const ParameterSpec& tensor : order) entries.push_back({tensor.name, type, tensor.shape});
  const NewFolder folder(options.target);
  SafetensorsTarget target(options.target + "/model.safetensors", entries, type);
  run.run(order, kStagingBytes, target);
  target.finish();
  write_model_companions(run.model, type, options.target);
}

}  // namespace

void run_merge(const MergeOptions& options) {
  std::error_code error;
  for (const std::string& source : {options.model, options.adapter})
    if (!source.empty() && fs::equivalent(options.target, source, error))
      throw caller_error("--out", "'" + options.target + "' is what is being read", "give another file or folder");
  MergeRun run(options);
  if (options.target.ends_with(".gguf")) merge_to_gguf(run, options);
  else merge_to_folder(run, options);
}

}  // namespace plimsoll
