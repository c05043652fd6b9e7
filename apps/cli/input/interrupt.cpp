#include "cli/input/interrupt.h"

#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>

namespace plimsoll::cli {
namespace {

volatile std::sig_atomic_t g_signal = 0;
const char* volatile g_notice = nullptr;
constexpr std::array kSignals = {SIGINT, SIGTERM};
std::array<struct sigaction, kSignals.size()> g_before;

extern "C" void note_interrupt(int number) {
  g_signal = number;
  const char* const notice = g_notice;
  if (notice == nullptr) return;
  const ssize_t written = ::write(STDERR_FILENO, notice, std::strlen(notice));
  (void)written;
}

void listen(size_t index, int flags) {
  struct sigaction action {};
  action.sa_handler = note_interrupt;
  action.sa_flags = flags;
  sigemptyset(&action.sa_mask);
  sigaction(kSignals[index], &action, &g_before[index]);
}

}  // namespace

InterruptFlag::InterruptFlag() {
  g_signal = 0;
  g_notice = nullptr;
  listen(0, SA_RESTART);
}

InterruptFlag::InterruptFlag(const char* notice) {
  g_signal = 0;
  g_notice = notice;
  for (size_t i = 0; i < kSignals.size(); ++i) listen(i, SA_RESTART | static_cast<int>(SA_RESETHAND));
}

InterruptFlag::~InterruptFlag() {
  const size_t count = g_notice == nullptr ? 1 : kSignals.size();
  for (size_t i = 0; i < count; ++i) sigaction(kSignals[i], &g_before[i], nullptr);
  g_notice = nullptr;
}

bool InterruptFlag::is_set() const { return g_signal != 0; }
int InterruptFlag::signal_number() const { return g_signal; }
void InterruptFlag::clear() { g_signal = 0; }

}  // namespace plimsoll::cli
