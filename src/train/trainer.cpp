#include "train/trainer.h"

#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>

#include "arch/architecture.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/log.h"
#include "checkpoint/checkpoint.h"
#include "config/machine.h"
#include "config/recipe/recipe_fields.h"
#include "config/recipe/recipe_toml.h"
#include "data/batch_order.h"
#include "formats/output_file.h"
#include "formats/text_file.h"
#include "memory/resident.h"
#include "models/model_folder.h"
#include "ops/op_def.h"
#include "setup/run_sources.h"
#include "train/loss_scale.h"
#include "train/lr_schedule.h"
#include "train/matmul_peak.h"
#include "train/metrics.h"
#include "train/report_plan.h"
#include "train/result_writer.h"
#include "train/run_folder.h"
#include "train/train_session.h"

namespace plimsoll {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int64_t kKeptCheckpoints = 2;
constexpr double kLeastLossScale = 0x1p-14;  // below it the loss itself is lost in fp16

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

// A run that goes on must cut the work as the run before it did, or sums would be taken in another order.
void pin_choices(Recipe& recipe, const CheckpointProgress& progress) {
  recipe.global_batch = rows_per_step(recipe);
  if (*recipe.global_batch % progress.micro_batch != 0)
    throw caller_error("--global-batch",
                       fmt::format("{} rows are no multiple of the checkpoint's micro-batch of {}",
                                   *recipe.global_batch, progress.micro_batch),
                       "resume with the recipe that made the checkpoint");
  recipe.micro_batch = progress.micro_batch;
  recipe.recompute = RecomputeMode::layers;
  recipe.recompute_layers = progress.recompute_layers;
  recipe.ce_chunk_rows = progress.ce_chunk_rows;
}

// Kinds of op by their share of the time, the largest first.
std::string profile_text(const Profile& profile) {
  std::vector<int> kinds;
  double total = 0;
  for (int kind = 0; kind < kOpKindCount; ++kind) {
    if (profile.calls[static_cast<size_t>(kind)] > 0) kinds.push_back(kind);
    total += profile.seconds[static_cast<size_t>(kind)];
  }
  const auto seconds = [&](int kind) { return profile.seconds[static_cast<size_t>(kind)]; };
  std::sort(kinds.begin(), kinds.end(), [&](int a, int b) { return seconds(a) > seconds(b); });
  std::string text = fmt::format("{:<28}{:>10}{:>12}{:>8}", "op", "calls", "seconds", "share");
  for (const int kind : kinds)
    text += fmt::format("\n{:<28}{:>10}{:>12.3f}{:>7.1f}%", name_of(static_cast<OpKind>(kind)),
                        profile.calls[static_cast<size_t>(kind)], seconds(kind), 100 * seconds(kind) / total);
  return text;
}

class Run {
 public:
  Run(const TrainOptions& options, RunSources& sources, const TrainData& data, const TrainPlan& plan)
      : peak_flops_(measure_matmul_peak(sources.threads, sources.recipe.precision == DType::bf16
                                                             ? DType::bf16
                                                             : DType::f32)),  // before the arena is there
        options_(options),
        sources_(sources),
        recipe_(sources.recipe),
        data_(data),
        plan_(plan),
        order_(
            data.train.size(), [&data](int64_t i) { return data.train.length(i); },
            {recipe_.seq_len, recipe_.packing, recipe_.shuffle, static_cast<uint64_t>(recipe_.seed)},
            plan.choices.micro_batch * plan.grad_accum_steps),
        session_(plan, sources.threads) {
    report_.steps = recipe_.steps ? *recipe_.steps : order_.steps_of_epochs(recipe_.epochs.value_or(1.0));
  }

  TrainReport run(std::optional<CheckpointProgress> resumed) {
    session_.load(sources_, options_.out);
    progress_ = {0, plan_.choices.micro_batch, plan_.choices.recompute_layers, plan_.choices.ce_chunk_rows, 0};
    progress_.data_rows = data_.train.size();
    if (recipe_.precision == DType::f16) progress_.loss_scale.scale = recipe_.loss_scale;
    progress_.data_tokens = data_.train.report().tokens;
    if (resumed) {
      if (resumed->data_rows != progress_.data_rows || resumed->data_tokens != progress_.data_tokens)
        throw caller_error(
            options_.out,
            fmt::format("was begun with {} rows and {} tokens of data, now there are {} and {}", resumed->data_rows,
                        resumed->data_tokens, progress_.data_rows, progress_.data_tokens),
            "give the run its data again, or begin a new one with another --out");
      load_checkpoint(options_.out, *resumed, session_.phase(phase_names::kResume), session_.state());
      progress_ = *resumed;
    }
    if (options_.profile || options_.on_profile) session_.start_profile();
    MetricsFile metrics(options_.out + "/metrics.jsonl", progress_.step);
    if (metrics.last_kept()) {  // what a run that is complete already reports
      report_.final_loss = metrics.last_kept()->loss;
      speeds_.push_back(metrics.last_kept()->tokens_per_second);
    }
    report_.was_done = resumed && progress_.step >= report_.steps;
    if (options_.on_begin) options_.on_begin();
    while (progress_.step < report_.steps) {
      train_one_step(metrics);
      if (progress_.step < report_.steps && options_.interrupted && options_.interrupted()) return stop_early();
    }
    if (const Profile* profile = session_.profile()) {
      if (options_.profile) log_note(profile_text(*profile));
      if (options_.on_profile) options_.on_profile(plan_, *profile);
    }
    if (data_.eval && !report_.eval_loss) report_.eval_loss = session_.evaluate(*data_.eval, recipe_, data_.pad_id);
    report_.output = write_result_files(options_.out, sources_, plan_, session_);
    if (recipe_.precision == DType::f16) report_.skipped_steps = progress_.loss_scale.skipped_steps;
    return finished_report();
  }

 private:
  TrainReport finished_report() {
    report_.tokens_per_second =
        median(speeds_.size() > 2 ? std::vector<double>(speeds_.begin() + 2, speeds_.end()) : speeds_);
    report_.arena_bytes = session_.used_arena_bytes();
    report_.planned_total_bytes = plan_.total_bytes;
    report_.peak_resident_bytes = peak_resident_bytes();
    return report_;
  }

  TrainReport stop_early() {
    report_.output = checkpoint_folder(options_.out, progress_.step);
    if (!folder_exists(report_.output)) save();
    report_.steps = progress_.step;
    report_.interrupted = true;
    return finished_report();
  }

  void save() {
    save_checkpoint(options_.out, progress_, session_.phase(phase_names::kSave), session_.state());
    prune_checkpoints(options_.out, kKeptCheckpoints);
  }

  void train_one_step(MetricsFile& metrics) {
    const auto start = Clock::now();
    const int64_t step = progress_.step;
    const bool scaled = recipe_.precision == DType::f16;
    LossScaleState& loss_scale = progress_.loss_scale;
    const int64_t updates = step - loss_scale.skipped_steps;  // a skipped step moves no schedule
    const double lr = recipe_.relative_step
                          ? relative_step(updates)
                          : lr_of_step(recipe_.lr_schedule, recipe_.lr, updates, recipe_.warmup_steps, report_.steps);
    order_.rows_of_step(step, rows_);
    const double used_scale = loss_scale.scale;
    const TrainSession::StepResult result =
        session_.step(data_, rows_, lr, updates, step * plan_.grad_accum_steps, used_scale);
    if (scaled) update_loss_scale(loss_scale, result.overflow, recipe_.loss_scale_interval);
    const double seconds = seconds_since(start);
    progress_.train_seconds += seconds;
    ++progress_.step;
    report_.final_loss = result.loss;
    const double speed = static_cast<double>(result.tokens) / seconds;
    speeds_.push_back(speed);

    StepMetrics line{progress_.step, result.loss, lr, result.grad_norm, result.tokens, speed, 0, 0, seconds, {}, {},
                     false};
    if (scaled) line.loss_scale = used_scale;
    line.skipped = result.overflow;
    if (peak_flops_ > 0)
      line.mfu = plan_.program.step_flops * static_cast<double>(plan_.grad_accum_steps) / seconds / peak_flops_;
    if (data_.eval && recipe_.eval_every > 0 && progress_.step % recipe_.eval_every == 0)
      line.eval_loss = session_.evaluate(*data_.eval, recipe_, data_.pad_id);
    if (line.eval_loss) log_note(fmt::format("step {}: evaluation loss {:.4f}", progress_.step, *line.eval_loss));
    report_.eval_loss = line.eval_loss;
    line.peak_resident_bytes = peak_resident_bytes();
    metrics.append(line);
    if (scaled && loss_scale.scale < kLeastLossScale)
      throw caller_error("step " + std::to_string(progress_.step),
                         "gradients overflow fp16 however small the loss is scaled",
                         "give --precision bf16, which has fp32's range; or lower --lr");
    if (!scaled && (!std::isfinite(result.loss) || !std::isfinite(result.grad_norm)))
      throw caller_error("step " + std::to_string(progress_.step), "the loss or its gradient is not a finite number",
                         "lower --lr, or add --warmup-steps; a checkpoint of an earlier step is kept");
    if (recipe_.save_every > 0 && progress_.step % recipe_.save_every == 0) save();
    if (options_.on_progress)
      options_.on_progress({progress_.step, report_.steps, result.loss, speed,
                            read_resident_memory().value_or(ResidentMemory{}).now_bytes,
                            recipe_.memory_bytes.value_or(0),
                            static_cast<double>(report_.steps - progress_.step) * progress_.train_seconds /
                                static_cast<double>(progress_.step),
                            loss_scale.skipped_steps, line.loss_scale});
  }

  double peak_flops_;
  const TrainOptions& options_;
  RunSources& sources_;
  const Recipe& recipe_;
  const TrainData& data_;
  const TrainPlan& plan_;
  BatchOrder order_;
  TrainSession session_;
  StepRows rows_;
  CheckpointProgress progress_;
  TrainReport report_;
  std::vector<double> speeds_;
};

}  // namespace

PlanReport plan_training(const Recipe& recipe, bool with_buffers, const std::string& ir_folder) {
  const RunSources sources = open_run_sources(recipe, ModelNeed::config);
  const TrainPlan plan = plan_run(sources);
  if (!ir_folder.empty()) dump_ir(sources, plan, ir_folder);
  return report_plan(sources, plan, with_buffers);
}

// Without a line of the user's, the machine's own: a run never starts that the system would have to kill.
static TrainPlan plan_on_this_machine(RunSources& sources, const std::string& out) {
  TrainPlan plan = plan_run(sources, out);
  const int64_t available = inspect_machine().available_bytes;
  if (sources.recipe.memory_bytes || available == 0 || plan.total_bytes <= available) return plan;
  log_warning("the fastest plan takes " + format_bytes(plan.total_bytes) + ", this machine has " +
              format_bytes(available) + " free: planning below that");
  sources.recipe.memory_bytes = available;
  return plan_run(sources, out);
}

// What the run will write: the result, and the checkpoints that are there at the same time, one of them being replaced.
static int64_t bytes_on_disk(const RunSources& sources, const TrainPlan& plan, bool resumed) {
  const auto written = [&](const char* phase) {
    int64_t bytes = 0;
    const Graph& graph = plan.run.phase(phase).graph;
    for (const Op& op : graph.ops)
      if (op.kind == OpKind::save_tensor) bytes += graph.value(op.operands[0]).bytes();
    return bytes;
  };
  int64_t checkpoints = 0;
  if (const int64_t every = sources.recipe.save_every; every > 0)
    checkpoints =
        resumed ? 1 : std::min<int64_t>(kKeptCheckpoints + 1, sources.recipe.steps.value_or(every * 3) / every);
  return written(phase_names::kExport) + checkpoints * written(phase_names::kSave);
}

TrainReport run_training(const TrainOptions& given) {
  TrainOptions options = given;
  options.recipe = with_absolute_paths(given.recipe);
  require_folder_place(options.out);
  const std::optional<CheckpointProgress> resumed = find_checkpoint(options.out);
  if (resumed && !options.resume)
    throw caller_error(options.out, fmt::format("holds a run with a checkpoint of step {}", resumed->step),
                       "--resume goes on with it; for a new run give another --out, or remove the folder");
  if (!options.resume && !finished_result(options.out).empty())
    throw caller_error(options.out, "holds a finished run", "give another --out, or remove the folder");
  const std::string recipe_path = options.out + "/recipe.toml";
  if (resumed && file_exists(recipe_path)) require_same_run(recipe_path, options.recipe);
  if (options.resume)
    if (const auto finished = find_finished_run(options.out, options.recipe, resumed)) return *finished;
  RunSources sources = open_run_sources(options.recipe, ModelNeed::weights);
  require_weights(sources.model);
  check_weights(sources.model, list_parameters(sources.model.config));
  if (resumed) pin_choices(sources.recipe, *resumed);
  const auto planning = Clock::now();
  TrainPlan plan = plan_on_this_machine(sources, options.out);
  if (resumed) plan.suggestions.clear();  // they would make it another run
  log_detail(fmt::format("planned in {:.2f} s: {} phases, {} of arena", seconds_since(planning), plan.run.phases.size(),
                         format_bytes(plan.run.arena_bytes)));
  for (const ExecutionPlan& phase : plan.run.phases)
    log_detail(
        fmt::format("  {}: {} ops, {} buffers", phase.graph.phase, phase.graph.ops.size(), phase.buffers.size()));
  const PlanReport report = report_plan(sources, plan, false);
  if (options.on_plan) options.on_plan(report);
  if (!plan.fits) throw does_not_fit(report);
  require_free_disk(options.out, bytes_on_disk(sources, plan, resumed.has_value()));

  const TrainData data = open_train_data(sources.model, sources.recipe);
  sources.model.gguf.reset();  // its vocabulary is not needed any more
  const RunFolderLock lock(make_folder(options.out));
  prune_checkpoints(options.out, resumed ? kKeptCheckpoints : 0);
  for (const char* folder : {"", "/adapter", "/model"}) remove_leftovers(options.out + folder);
  write_file_atomically(recipe_path, write_recipe_toml(options.recipe));
  write_file_atomically(options.out + "/plan.json", plan_report_json(report));
  malloc_trim(0);  // what planning and tokenizing freed goes back to the system before the arena comes
  return Run(options, sources, data, plan).run(resumed);
}

}  // namespace plimsoll
