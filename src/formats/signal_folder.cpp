#include "formats/signal_folder.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <climits>
#include <csignal>
#include <cstdlib>

namespace plimsoll {
namespace {

constexpr int kSlots = 4;
enum State : int { kFree, kTaken, kSet };

// Read in the signal handler, so nothing but plain memory.
struct Slot {
  std::atomic<int> state{kFree};
  std::array<char, PATH_MAX> path{};
};
std::array<Slot, kSlots> g_slots;
static_assert(std::atomic<int>::is_always_lock_free);

extern "C" void remove_and_end(int number) {
  for (const Slot& slot : g_slots)
    if (slot.state.load() == kSet) ::rmdir(slot.path.data());
  ::signal(number, SIG_DFL);
  ::raise(number);  // comes when the handler is left
}

void listen() {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action {};
    if (::sigaction(number, nullptr, &action) != 0 || action.sa_handler != SIG_DFL) continue;
    action.sa_handler = remove_and_end;
    ::sigaction(number, &action, nullptr);
  }
}

}  // namespace

SignalFolder::SignalFolder(const std::string& folder) {
  std::array<char, PATH_MAX> path{};
  if (::realpath(folder.c_str(), path.data()) == nullptr) return;
  for (int i = 0; i < kSlots; ++i) {
    int free = kFree;
    Slot& slot = g_slots[static_cast<size_t>(i)];
    if (!slot.state.compare_exchange_strong(free, kTaken)) continue;
    slot.path = path;
    slot.state.store(kSet);
    slot_ = i;
    listen();
    return;
  }
}

SignalFolder::~SignalFolder() {
  if (slot_ >= 0) g_slots[static_cast<size_t>(slot_)].state.store(kFree);
}

}  // namespace plimsoll
