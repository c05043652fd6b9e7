// A fixed set of threads that take tiles of a loop as they become free.
//
// Machines are shared, so a slow thread must not hold up the others: a tile is claimed, not assigned, and the caller
// waits only for tiles that were claimed, never for a thread that did not wake up. Which thread runs a tile must not
// change a result; keep the partition into tiles independent of `threads()` and results are the same bits for any
// thread count.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <type_traits>

namespace plimsoll {

class ThreadPool {
 public:
  // `threads` counts the calling thread too; 1 starts no thread. Worker stacks are kStackBytes.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  static constexpr int64_t kStackBytes = 2 << 20;

  int threads() const { return threads_; }

  // Calls body(tile, thread) for every tile in [0, tiles), thread in [0, threads()). Returns when all are done.
  // The first exception of a body is rethrown here; remaining tiles are skipped. Not reentrant, one caller at a time.
  // Allocates nothing.
  template <typename Body>
  void parallel_for(int64_t tiles, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    run(
        tiles, [](void* context, int64_t tile, int thread) { (*static_cast<Plain*>(context))(tile, thread); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  using Call = void (*)(void* context, int64_t tile, int thread);
  struct State;

  void run(int64_t tiles, Call call, void* context);

  int threads_;
  std::unique_ptr<State> state_;
};

}  // namespace plimsoll
