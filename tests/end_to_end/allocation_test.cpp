// After the first step the training path keeps nothing that it did not have. What it holds for moments beside the arena
// is the matmul library's: small objects for each call and, in f32, packed operands of a tile, less than the MiB a
// thread that the plan's runtime overhead has for it. Every malloc of this process is counted, the libraries' among
// them.
#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cstddef>

#include "data/batch_order.h"
#include "support/tiny_model.h"
#include "train/train_session.h"

// glibc's own names of its allocator; a program's malloc stands before the library's everywhere.
extern "C" {
void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t count, size_t bytes);
void* __libc_realloc(void* pointer, size_t bytes);
void* __libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void* pointer);
}

namespace {

std::atomic<long> live_bytes{0}, peak_bytes{0}, allocations{0};

void* count(void* pointer) {
  if (pointer == nullptr) return nullptr;
  ++allocations;
  const long now = live_bytes += static_cast<long>(malloc_usable_size(pointer));
  long before = peak_bytes;
  while (now > before && !peak_bytes.compare_exchange_weak(before, now)) {
  }
  return pointer;
}
void uncount(void* pointer) {
  if (pointer != nullptr) live_bytes -= static_cast<long>(malloc_usable_size(pointer));
}

}  // namespace

extern "C" {
void* malloc(size_t bytes) { return count(__libc_malloc(bytes)); }
void* calloc(size_t count_, size_t bytes) { return count(__libc_calloc(count_, bytes)); }
void* realloc(void* pointer, size_t bytes) {
  uncount(pointer);
  return count(__libc_realloc(pointer, bytes));
}
void* memalign(size_t alignment, size_t bytes) { return count(__libc_memalign(alignment, bytes)); }
void* aligned_alloc(size_t alignment, size_t bytes) { return count(__libc_memalign(alignment, bytes)); }
int posix_memalign(void** pointer, size_t alignment, size_t bytes) {
  *pointer = count(__libc_memalign(alignment, bytes));
  return *pointer == nullptr ? 12 : 0;
}
void free(void* pointer) {
  uncount(pointer);
  __libc_free(pointer);
}
}

namespace plimsoll {
namespace {

class AllocationTest : public testing::TestWithParam<std::tuple<Method, DType>> {};

TEST_P(AllocationTest, StepsKeepNothing) {
  constexpr int kThreads = 3, kSteps = 4;
  const TestFolder folder;
  ModelConfig config = tiny_llama();
  config.hidden_size = 576;
  config.intermediate_size = 1536;
  config.layers = 2;
  config.heads = 9;
  config.kv_heads = 3;
  config.head_dim = 64;
  Recipe recipe;
  recipe.model = write_random_model(folder / "model", config);
  recipe.data = {write_random_rows(folder / "rows.jsonl", 20, 50, 120, 256)};
  recipe.eval_data = recipe.data[0];
  recipe.seq_len = 128;
  recipe.global_batch = 4;
  recipe.micro_batch = 2;
  recipe.threads = kThreads;
  recipe.method = std::get<0>(GetParam());
  recipe.precision = std::get<1>(GetParam());
  recipe.recompute = RecomputeMode::layers;
  recipe.recompute_layers = 1;
  const RunSources sources = open_run_sources(recipe, ModelNeed::weights);
  const TrainPlan plan = plan_run(sources);
  const TrainData data = open_train_data(sources.model, recipe);
  BatchOrder order(
      data.train.size(), [&](int64_t i) { return data.train.length(i); }, {recipe.seq_len, true, true, 0}, 4);
  TrainSession session(plan, sources.threads);
  session.load(sources, "");
  StepRows rows;
  for (int64_t step = 0; step < kSteps; ++step) {
    order.rows_of_step(step % 2, rows);  // one epoch: a new one is planned beside the training path
    const long before = live_bytes, calls = allocations;
    peak_bytes = before;
    session.step(data, rows, 1e-3, step, step * 2);
    if (step == 0) continue;
    EXPECT_EQ(live_bytes, before) << "step " << step;
    EXPECT_LE(peak_bytes - before, kThreads << 20) << "step " << step;
    RecordProperty("calls", std::to_string(allocations - calls));
  }
  EXPECT_GT(allocations, 1000);  // it does count
}

INSTANTIATE_TEST_SUITE_P(Methods, AllocationTest,
                         testing::Combine(testing::Values(Method::lora, Method::full, Method::dora),
                                          testing::Values(DType::f32, DType::bf16, DType::f16)),
                         [](const auto& info) {
                           const Method method = std::get<0>(info.param);
                           const std::string name = method == Method::lora   ? "lora"
                                                    : method == Method::full ? "full"
                                                                             : "dora";
                           return name + "_" + std::string(dtype_name(std::get<1>(info.param)));
                         });

}  // namespace
}  // namespace plimsoll
