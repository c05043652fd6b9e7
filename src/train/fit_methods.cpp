#include "train/fit_methods.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>

#include "base/error.h"
#include "config/machine.h"
#include "setup/packed_formats.h"
#include "setup/run_sources.h"

namespace plimsoll {
namespace {

struct FitMethod {
  const char* name;
  const char* flags;
  Method method;
  DType precision = DType::bf16;
  const char* quant = "auto";
  OptimizerKind optimizer = OptimizerKind::adamw;  // full only
  bool in_backward = false;
  bool streams = false;
};

// Best quality first: all weights before adapters, wide base weights before narrow ones, and of equal numbers the fast
// before the small.
const std::vector<FitMethod>& all_methods() {
  using enum Method;
  constexpr OptimizerKind k8Bit = OptimizerKind::adamw8bit, kAdam = OptimizerKind::adamw;
  static const std::vector<FitMethod> methods = {
      {"full fp32", "--method full --precision fp32", full, DType::f32},
      {"full mixed (bf16)", "--method full", full},
      {"full mixed, optimizer in backward", "--method full --optimizer-in-backward on", full, DType::bf16, "auto",
       kAdam, true},
      {"full 8-bit Adam", "--method full --optimizer adamw8bit", full, DType::bf16, "auto", k8Bit},
      {"full 8-bit Adam, in backward", "--method full --optimizer adamw8bit --optimizer-in-backward on", full,
       DType::bf16, "auto", k8Bit, true},
      {"LoRA", "--method lora --stream off", lora},
      {"LoRA, streamed", "--method lora --stream on", lora, DType::bf16, "auto", kAdam, false, true},
      {"QLoRA int8", "--method qlora --quant int8 --stream off", qlora, DType::bf16, "int8"},
      {"QLoRA q6_k", "--method qlora --quant q6_k --stream off", qlora, DType::bf16, "q6_k"},
      {"QLoRA q5_k", "--method qlora --quant q5_k --stream off", qlora, DType::bf16, "q5_k"},
      {"QLoRA q4_k", "--method qlora --quant q4_k --stream off", qlora, DType::bf16, "q4_k"},
      {"QLoRA nf4", "--method qlora --quant nf4 --stream off", qlora, DType::bf16, "nf4"},
      {"QLoRA nf4, streamed", "--method qlora --quant nf4 --stream on", qlora, DType::bf16, "nf4", kAdam, false, true},
  };
  return methods;
}

Recipe recipe_of(const Recipe& asked, const FitMethod& method) {
  Recipe recipe = asked;
  recipe.method = method.method;
  recipe.precision = method.precision;
  recipe.quant = method.quant;
  recipe.optimizer_in_backward = method.in_backward;
  recipe.stream = method.streams ? StreamMode::on : StreamMode::off;
  if (method.method != Method::full) return recipe;
  recipe.optimizer = method.optimizer;
  recipe.stream = StreamMode::automatic;  // as `plan` has it where nothing is said
  const Recipe defaults;
  recipe.rank = defaults.rank, recipe.alpha = defaults.alpha, recipe.targets = defaults.targets;
  recipe.rslora = false, recipe.lora_dropout = 0, recipe.lora_plus_ratio = 1;
  return recipe;
}

// The largest n in [low, high) with bytes(n) ≤ line, by interpolating between what was seen. bytes(low) is within the
// line, bytes(high) is not, and they rise with n.
template <typename Bytes>
int64_t largest_between(int64_t low, int64_t high, int64_t low_bytes, int64_t high_bytes, int64_t line, Bytes&& bytes) {
  for (int turn = 0; high - low > 1; ++turn) {
    const double share = static_cast<double>(line - low_bytes) / static_cast<double>(high_bytes - low_bytes);
    int64_t middle = low + static_cast<int64_t>(share * static_cast<double>(high - low));
    if (turn % 2 == 1) ++middle;  // the other side of the crossing
    if (turn > 6) middle = (low + high) / 2;
    middle = std::clamp(middle, low + 1, high - 1);
    const int64_t there = bytes(middle);
    if (there <= line) low = middle, low_bytes = there;
    else high = middle, high_bytes = there;
  }
  return low;
}

template <typename Bytes>
int64_t largest(int64_t most, int64_t line, Bytes&& bytes) {
  const int64_t low = bytes(1);
  if (low > line) return 0;
  const int64_t high = most > 1 ? bytes(most) : low;
  if (high <= line) return most;
  return largest_between(1, most, low, high, line, bytes);
}

// The largest n in [1, most] with exact(n) ≤ line; 0: not even 1. It begins where `guess` has it.
template <typename Exact, typename Guess>
int64_t largest_from(int64_t most, int64_t line, Exact&& exact, Guess&& guess) {
  const int64_t guessed = largest(most, line, guess);
  const int64_t low = std::max<int64_t>(1, guessed), low_bytes = exact(low);
  if (low_bytes <= line) {
    if (low == most) return most;
    const int64_t next_bytes = exact(low + 1);
    if (next_bytes > line) return low;
    const int64_t most_bytes = exact(most);
    return most_bytes <= line ? most : largest_between(low + 1, most, next_bytes, most_bytes, line, exact);
  }
  const int64_t first_bytes = low > 1 ? exact(1) : low_bytes;
  return first_bytes > line ? 0 : largest_between(1, low, first_bytes, low_bytes, line, exact);
}

FitRow fit_one(const RunSources& base, const Recipe& asked, const DataExtent& data, const PlanTarget& of_all,
               const FitMethod& method) {
  FitRow row{method.name, method.flags, {}, false, 0, false, 0, 0, 0, {}};
  RunSources sources;
  sources.recipe = recipe_of(asked, method);
  sources.model.config = base.model.config;
  sources.adapter = base.adapter;
  sources.train = base.train;
  sources.threads = base.threads;
  sources.train.packed =
      choose_packed_formats(sources.recipe.quant, PackedDefault::nf4, base.model.tensors, sources.recipe.precision);
  const ModelConfig& config = base.model.config;
  PlanTarget target = plan_target(sources, data, ".");
  target.disk = of_all.disk;  // measured once
  const int64_t line = *asked.memory_bytes;
  const TrainPlan plan = choose_plan(config, sources.recipe, sources.train, target, false);
  row.fits = plan.fits;
  row.total_bytes = plan.total_bytes;
  row.smallest_budget_bytes = plan.smallest_budget_bytes;
  if (plan.fits)
    row.predicted_tokens_per_second =
        static_cast<double>(rows_per_step(sources.recipe) * asked.seq_len) / plan.predicted_seconds;

  Recipe settled = sources.recipe;
  if (settled.stream == StreamMode::automatic) settled.stream = StreamMode::inputs;  // the least that it may choose
  const LeastBytes least(config, settled, sources.train, target, plan);
  const int64_t steps = std::max<int64_t>(1, config.context_length / kSeqLenStep);
  row.longest_seq_len = kSeqLenStep * largest_from(
                                          steps, line, [&](int64_t n) { return least.at(n * kSeqLenStep, 1); },
                                          [&](int64_t n) { return least.guess(n * kSeqLenStep, 1); });
  row.longest_is_context = row.longest_seq_len == steps * kSeqLenStep;
  row.largest_micro_batch = largest_from(
      kMostRowsAtOnce, line, [&](int64_t n) { return least.at(asked.seq_len, n); },
      [&](int64_t n) { return least.guess(asked.seq_len, n); });
  return row;
}

}  // namespace

FitTable fit_methods(const Recipe& asked) {
  const RunSources base = open_run_sources(asked, ModelNeed::config);
  const Recipe& recipe = base.recipe;
  PLIMSOLL_CHECK(recipe.memory_bytes.has_value(), "fit has a line");
  const DataExtent data = measure_data(recipe);
  FitTable table;
  table.model = recipe.model;
  table.budget_bytes = *recipe.memory_bytes;
  table.seq_len = recipe.seq_len;
  table.rows_per_step = rows_per_step(recipe);
  table.context_length = base.model.config.context_length;
  table.threads = base.threads;

  const PlanTarget target = plan_target(base, data, ".");
  table.calibrated = target.rates != nullptr;

  std::vector<const FitMethod*> methods;
  for (const FitMethod& method : all_methods())
    if (recipe.adapter.empty() || trains_adapter(method.method)) methods.push_back(&method);
  table.rows.resize(methods.size());
  std::vector<std::exception_ptr> failures(methods.size());
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < methods.size(); i = next++) {
      try {
        table.rows[i] = fit_one(base, recipe, data, target, *methods[i]);
      } catch (const Error& error) {
        table.rows[i].name = methods[i]->name;
        table.rows[i].flags = methods[i]->flags;
        table.rows[i].problem = error.problem();
        if (error.kind() == ErrorKind::internal) failures[i] = std::current_exception();
      } catch (...) {
        failures[i] = std::current_exception();
      }
    }
  };
  std::vector<std::thread> workers;
  for (int i = 1; i < std::min<int>(inspect_machine().threads, static_cast<int>(methods.size())); ++i)
    workers.emplace_back(work);
  work();
  for (std::thread& worker : workers) worker.join();
  for (const std::exception_ptr& failure : failures)
    if (failure) std::rethrow_exception(failure);

  for (size_t i = 0; i < table.rows.size(); ++i) {
    const FitRow& row = table.rows[i];
    if (!row.fits) continue;
    if (table.best < 0) table.best = static_cast<int>(i);
    if (table.cheapest < 0 ||
        row.smallest_budget_bytes < table.rows[static_cast<size_t>(table.cheapest)].smallest_budget_bytes)
      table.cheapest = static_cast<int>(i);
  }
  return table;
}

}  // namespace plimsoll
