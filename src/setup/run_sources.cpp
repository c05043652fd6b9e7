#include "setup/run_sources.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <mutex>

#include "backend/cpu/cpu_backend.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "compile/plan_report.h"
#include "config/machine.h"
#include "config/user_cache.h"
#include "data/files/row_reader.h"
#include "data/packing.h"
#include "runtime/disk_rate.h"
#include "setup/packed_formats.h"
#include "setup/weight_loader.h"

namespace plimsoll {
namespace {

// Fitted on runs of SmolLM2-135M and smaller models; a test checks that no run exceeds the sum.
constexpr int64_t kCodeAndLibraries = 32 * kMiB;  // program, C++ runtime, matmul library and its generated kernels
constexpr int64_t kPerThread = 1 * kMiB;          // touched stack, library thread state, scratch of the tokenizer
constexpr int64_t kPerToken = 100;                // tokenizer: texts, lookup tables, merges
constexpr int64_t kPerLayer = 256 * kKiB;         // graphs and their plan
constexpr int64_t kProductsInF32 = 8 * kMiB;      // fp32 and fp16: what the library generates for more shapes
constexpr int64_t kPerLayerHalf = 160 * kKiB;     // fp16: an op more for each value that an op reads or writes
constexpr int64_t kPerExpert = 24 * kKiB;         // of each layer: its tensors in all phases
constexpr int64_t kPerExpertAdapter = 56 * kKiB;  // its two tensors, with their gradients and state, in all phases
// A row as text, as values, as tokens with their places; a word without end takes 27 in the tokenizer alone (measured).
constexpr int64_t kPerRowByte = 36;
constexpr int64_t kPerIndexedRow = 16;  // where a row of the data lies, and its place in an epoch's order
constexpr int64_t kTokensPerByte = 2;   // of a text that is split into rows, at most

// --adapter brings its own rank, alpha and targets: what is given beside it must be the same, or the default.
void check_agrees(const Recipe& recipe, const PeftConfig& adapter) {
  const Recipe defaults;
  const auto refuse = [](const char* field, const std::string& given, const std::string& own) {
    throw caller_error(field, given + " given, but the adapter to start from has " + own,
                       std::string("leave --") + field + " out, or --adapter");
  };
  if (recipe.rank != defaults.rank && recipe.rank != adapter.rank)
    refuse("rank", std::to_string(recipe.rank), std::to_string(adapter.rank));
  if (recipe.alpha != defaults.alpha && recipe.alpha != adapter.alpha)
    refuse("alpha", fmt::format("{}", recipe.alpha), fmt::format("{}", adapter.alpha));
  if (recipe.rslora && !adapter.rslora) refuse("rslora", "on", "it off");
  if (recipe.targets != defaults.targets) refuse("targets", recipe.targets, "its own");
}

}  // namespace

int64_t free_memory_line() {
  const AutoLine line = auto_memory_line(inspect_machine());
  log_note(fmt::format("--memory auto: {} are free, {} of them stay free: the line is at {}",
                       format_bytes(line.free_bytes), format_bytes(line.margin_bytes),
                       format_bytes(line.line_bytes())));
  return line.line_bytes();
}

RunSources open_run_sources(const Recipe& recipe, ModelNeed need) {
  RunSources sources;
  sources.recipe = recipe;
  if (recipe.memory_auto) {
    sources.recipe.memory_bytes = free_memory_line();
    sources.recipe.memory_auto = false;
  }
  sources.model = open_model_source(recipe.model, need);
  sources.adapter = open_adapter_source(recipe.adapter);
  if (sources.adapter.files) {
    check_agrees(recipe, sources.adapter.files->config);
    sources.recipe.rank = sources.adapter.files->config.rank;
    sources.recipe.alpha = sources.adapter.files->config.alpha;
    sources.recipe.rslora = sources.adapter.files->config.rslora;
    // With qlora the base stays packed.
    if (sources.adapter.files->config.dora && recipe.method == Method::lora) sources.recipe.method = Method::dora;
    if (!sources.adapter.files->config.dora && recipe.method == Method::dora)
      throw caller_error("--method", "dora, but " + recipe.adapter + " holds a plain LoRA adapter",
                         "give --method lora, or an adapter that was trained as DoRA");
  }
  if (recipe.seq_len > sources.model.config.context_length)
    log_warning("--seq-len " + std::to_string(recipe.seq_len) + " is longer than the model's context of " +
                std::to_string(sources.model.config.context_length) +
                " tokens: positions beyond it are new to the model");
  if (trains_adapter(recipe.method) && recipe.targets == "all-linear" && !sources.adapter.files &&
      sources.model.config.mixture.experts > 0)
    log_note(
        "adapters of a mixture go on attention, and with --targets all-linear,experts on its experts (not of gpt_oss "
        "and phimoe); PEFT has no names for routers and MLPs beside them");
  sources.train.adapter_modules = sources.adapter.modules;
  sources.train.packed =
      choose_packed_formats(recipe.quant, PackedDefault::nf4, sources.model.tensors, recipe.precision);
  sources.train.load_staging_bytes = load_staging_bytes(sources.model.tensors);
  sources.threads = recipe.threads > 0 ? static_cast<int>(recipe.threads) : inspect_machine().threads;
  return sources;
}

namespace {

// Adapters of single experts; where they will be drawn, no fewer than there will be.
int64_t expert_adapters(const RunSources& sources) {
  if (sources.adapter.files)
    return std::count_if(sources.adapter.modules.begin(), sources.adapter.modules.end(),
                         [](const LoraModule& module) { return module.path.find(".experts.") != std::string::npos; });
  if (!trains_adapter(sources.recipe.method)) return 0;
  const ModelConfig& config = sources.model.config;
  for (const char* name : {"experts", "w1", "w2", "w3", "gate_proj", "up_proj", "down_proj"})
    if (sources.recipe.targets.find(name) != std::string::npos) return 3 * config.mixture.experts * config.layers;
  return 0;
}

}  // namespace

int64_t runtime_overhead_bytes(const ModelConfig& config, int threads, const DataExtent& data) {
  return kCodeAndLibraries + kPerThread * threads + kPerToken * config.vocab_size + kPerLayer * config.layers +
         kPerExpert * config.mixture.experts * config.layers + kPerIndexedRow * data.indexed_rows;
}

int64_t runtime_overhead_bytes(const RunSources& sources, const DataExtent& data) {
  const ModelConfig& config = sources.model.config;
  const DType precision = sources.recipe.precision;
  return runtime_overhead_bytes(config, sources.threads, data) + kPerExpertAdapter * expert_adapters(sources) +
         (precision == DType::bf16 ? 0 : kProductsInF32) +
         (precision == DType::f16 ? kPerLayerHalf * config.layers : 0);
}

namespace {

// Adds one set of files, which has an index of its own.
void measure_files(const std::vector<std::string>& paths, const Recipe& recipe, DataExtent& extent) {
  int64_t rows = 0;
  for (const std::string& path : paths) {
    RowReader reader(path, recipe.text_split);
    while (reader.next()) {
      ++rows;
      if (reader.piece().is_piece || recipe.overlong == Overlong::split)
        rows += kTokensPerByte * reader.row_bytes() / recipe.seq_len;
      extent.longest_row_bytes = std::max(extent.longest_row_bytes, reader.row_bytes());
    }
    extent.unpacking_bytes = std::max(extent.unpacking_bytes, reader.unpacking_bytes());
  }
  extent.indexed_rows += std::min(rows, kExamplesInMemory);
}

}  // namespace

DataExtent measure_data(const Recipe& recipe) {
  DataExtent extent;
  measure_files(recipe.data, recipe, extent);
  if (!recipe.eval_data.empty()) measure_files({recipe.eval_data}, recipe, extent);
  return extent;
}

namespace {
int64_t unpacking_and_parsing(const DataExtent& data) {
  return kPerRowByte * data.longest_row_bytes + data.unpacking_bytes;
}
}  // namespace

int64_t reading_bytes(const RunSources& sources, const DataExtent& data) {
  return runtime_overhead_bytes(sources, data) + unpacking_and_parsing(data);
}

int64_t reading_bytes(const ModelConfig& config, int threads, const DataExtent& data) {
  return runtime_overhead_bytes(config, threads, data) + unpacking_and_parsing(data);
}

void check_weights(const ModelFiles& model, const std::vector<ParameterSpec>& parameters) {
  for (const ParameterSpec& spec : parameters) find_weight(model.tensors, spec.name, spec.shape);
}

namespace {

constexpr double kDaysOfRates = 365;

// Rates that calibrate kept for this precision and number of threads.
std::shared_ptr<const OpRates> kept_rates(DType precision, int threads) {
  const std::string name = rates_file_name(cpu_speed(precision).instructions, precision_name(precision), threads);
  const std::optional<std::string> text = read_user_cache(name, kDaysOfRates);
  if (!text) return nullptr;
  try {
    return std::make_shared<OpRates>(parse_op_rates(*text, user_cache_folder() + "/" + name));
  } catch (const Error& error) {
    log_warning(std::string(error.what()) + ": planning with assumed rates");
    return nullptr;
  }
}

// The nearest folder that is there.
std::string existing_folder(const std::string& folder) {
  std::error_code ignored;
  std::filesystem::path path = std::filesystem::absolute(folder.empty() ? "." : folder, ignored);
  while (path.has_relative_path() && !std::filesystem::is_directory(path, ignored)) path = path.parent_path();
  return path.string();
}

}  // namespace

PlanTarget plan_target(const RunSources& sources, const DataExtent& data, const std::string& folder) {
  PlanTarget target;
  target.workspace_bytes = [threads = sources.threads](const Graph& graph, const Op& op) {
    return cpu_backend().workspace_bytes(graph, op, threads);
  };
  target.runtime_overhead_bytes = runtime_overhead_bytes(sources, data);
  target.least_total_bytes = reading_bytes(sources, data);
  target.flops_per_second = cpu_speed(sources.recipe.precision).flops_per_second * sources.threads;
  target.bytes_per_second = 1.0e10;
  target.unpacked_per_second = 2.0e9 * sources.threads;
  target.rates = kept_rates(sources.recipe.precision, sources.threads);
  struct Known {
    std::mutex mutex;
    std::optional<DiskRate> rate;
  };
  target.disk = [given = sources.recipe.disk_rate, folder, known = std::make_shared<Known>()] {
    if (given) return DiskRate{static_cast<double>(*given), "given"};
    const std::scoped_lock lock(known->mutex);
    if (!known->rate) {
      const std::optional<double> rate = disk_read_rate(existing_folder(folder));
      known->rate = rate ? DiskRate{*rate, "measured"} : DiskRate{};
    }
    return *known->rate;
  };
  return target;
}

TrainPlan plan_run(const RunSources& sources, const std::string& folder) {
  return choose_plan(sources.model.config, sources.recipe, sources.train,
                     plan_target(sources, measure_data(sources.recipe), folder));
}

}  // namespace plimsoll
