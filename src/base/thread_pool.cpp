#include "base/thread_pool.h"

#include <pthread.h>

#include <array>
#include <mutex>
#include <utility>
#include <vector>

#include "base/error.h"

namespace plimsoll {
namespace {

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// About 30 µs: longer than the gap between two kernels, far shorter than a scheduler's time slice. After that a waiting
// thread sleeps, so that a descheduled tile can move to its core.
constexpr int kSpins = 800;

}  // namespace

struct ThreadPool::State {
  // (epoch << 32 | next tile): one word, so that a claim fails when the job it was read from is over. The job's fields
  // are atomics because a late thread may read them while the next job is written; its claim then fails.
  std::atomic<uint64_t> ticket{0};
  std::atomic<uint32_t> tiles{0};
  std::atomic<Call> call{nullptr};
  std::atomic<void*> context{nullptr};
  std::atomic<uint32_t> done{0};

  std::atomic<uint32_t> wake{0};  // epoch again, as a futex word for idle threads
  std::atomic<bool> failed{false};
  std::atomic<bool> stop{false};
  std::mutex error_mutex;
  std::exception_ptr error;
  std::vector<pthread_t> workers;

  // Claims and runs tiles of `epoch` until none is left.
  void work(uint32_t epoch, int thread) {
    uint64_t ticket_now = ticket.load(std::memory_order_acquire);
    while (static_cast<uint32_t>(ticket_now >> 32) == epoch) {
      const uint32_t count = tiles.load(std::memory_order_relaxed);
      const Call body = call.load(std::memory_order_relaxed);
      void* const argument = context.load(std::memory_order_relaxed);
      const auto tile = static_cast<uint32_t>(ticket_now);
      if (tile >= count) return;
      if (!ticket.compare_exchange_weak(ticket_now, ticket_now + 1, std::memory_order_acq_rel,
                                        std::memory_order_acquire))
        continue;
      if (!failed.load(std::memory_order_relaxed)) {
        try {
          body(argument, tile, thread);
        } catch (...) {
          const std::lock_guard lock(error_mutex);
          if (!error) error = std::current_exception();
          failed.store(true, std::memory_order_relaxed);
        }
      }
      if (done.fetch_add(1, std::memory_order_acq_rel) + 1 == count) done.notify_one();
      ticket_now = ticket.load(std::memory_order_acquire);
    }
  }

  void worker_loop(int thread) {
    uint32_t seen = 0;
    while (true) {
      for (int spin = 0; spin < kSpins && wake.load(std::memory_order_acquire) == seen; ++spin) pause_briefly();
      wake.wait(seen, std::memory_order_acquire);
      seen = wake.load(std::memory_order_acquire);
      if (stop.load(std::memory_order_relaxed)) return;
      work(seen, thread);
    }
  }
};

namespace {
struct WorkerStart {
  void (*entry)(void* state, int thread);
  void* state;
  int thread;
};
void* worker_main(void* argument) {
  const std::unique_ptr<WorkerStart> start(static_cast<WorkerStart*>(argument));
  start->entry(start->state, start->thread);
  return nullptr;
}
}  // namespace

ThreadPool::ThreadPool(int threads) : threads_(threads), state_(std::make_unique<State>()) {
  PLIMSOLL_CHECK(threads >= 1, "a pool has at least the calling thread");
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, static_cast<size_t>(kStackBytes));
  for (int thread = 1; thread < threads; ++thread) {
    auto start = std::make_unique<WorkerStart>(WorkerStart{
        [](void* state, int index) { static_cast<State*>(state)->worker_loop(index); }, state_.get(), thread});
    pthread_t handle{};
    if (pthread_create(&handle, &attributes, worker_main, start.get()) != 0) {
      threads_ = thread;  // go on with those that started
      break;
    }
    (void)start.release();
    state_->workers.push_back(handle);
  }
  pthread_attr_destroy(&attributes);
}

ThreadPool::~ThreadPool() {
  state_->stop = true;
  state_->wake.fetch_add(1);
  state_->wake.notify_all();
  for (const pthread_t worker : state_->workers) pthread_join(worker, nullptr);
}

void ThreadPool::run(int64_t tiles, Call call, void* context) {
  if (tiles <= 0) return;
  PLIMSOLL_CHECK(tiles < (int64_t{1} << 31), "too many tiles");
  if (threads_ == 1 || tiles == 1) {
    for (int64_t tile = 0; tile < tiles; ++tile) call(context, tile, 0);
    return;
  }
  State& state = *state_;
  state.failed.store(false, std::memory_order_relaxed);
  state.done.store(0, std::memory_order_relaxed);
  const uint32_t epoch = static_cast<uint32_t>(state.ticket.load(std::memory_order_relaxed) >> 32) + 1;
  // Close the old job first: from here on no claim on it can succeed.
  state.ticket.store((uint64_t{epoch} << 32) | 0xffffffffU, std::memory_order_seq_cst);
  state.tiles.store(static_cast<uint32_t>(tiles), std::memory_order_relaxed);
  state.call.store(call, std::memory_order_relaxed);
  state.context.store(context, std::memory_order_relaxed);
  state.ticket.store(uint64_t{epoch} << 32, std::memory_order_release);
  state.wake.store(epoch, std::memory_order_release);
  state.wake.notify_all();

  state.work(epoch, 0);
  const auto count = static_cast<uint32_t>(tiles);
  for (int spin = 0; spin < kSpins && state.done.load(std::memory_order_acquire) != count; ++spin) pause_briefly();
  for (uint32_t done = state.done.load(std::memory_order_acquire); done != count;
       done = state.done.load(std::memory_order_acquire))
    state.done.wait(done, std::memory_order_acquire);

  if (state.failed.load(std::memory_order_relaxed)) {
    std::exception_ptr error;
    {
      const std::lock_guard lock(state.error_mutex);
      error = std::exchange(state.error, nullptr);
    }
    std::rethrow_exception(error);
  }
}

}  // namespace plimsoll
