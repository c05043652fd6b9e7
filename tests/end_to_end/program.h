// For tests: the built program as a child process, with limits, and killed at will.
#pragma once

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "support/test_files.h"

namespace plimsoll {

struct ProgramLimits {
  std::optional<rlim_t> data_bytes, file_bytes;
};

class RunningProgram {
 public:
  // stdout and stderr go to the files `log`.out and `log`.err.
  RunningProgram(const std::vector<std::string>& arguments, const std::string& log, const ProgramLimits& limits = {})
      : log_(log) {
    std::vector<std::string> words = {PLIMSOLL_PROGRAM};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    const std::string out = log + ".out", err = log + ".err";
    child_ = ::fork();
    if (child_ != 0) return;
    const auto limit = [](auto resource, rlim_t bytes) {
      const rlimit value{bytes, bytes};
      if (::setrlimit(resource, &value) != 0) ::_exit(99);
    };
    if (limits.data_bytes) limit(RLIMIT_DATA, *limits.data_bytes);
    if (limits.file_bytes) {
      limit(RLIMIT_FSIZE, *limits.file_bytes);
      std::signal(SIGXFSZ, SIG_IGN);  // a write past the limit fails, as on a full disk
    }
    if (::freopen(out.c_str(), "w", stdout) == nullptr || ::freopen(err.c_str(), "w", stderr) == nullptr) ::_exit(98);
    ::execv(pointers[0], pointers.data());
    ::_exit(97);
  }
  ~RunningProgram() {
    if (child_ > 0) kill();
  }
  RunningProgram(const RunningProgram&) = delete;
  RunningProgram& operator=(const RunningProgram&) = delete;

  // The exit code; -1 when a signal ended it.
  int wait() {
    int status = 0;
    ::waitpid(child_, &status, 0);
    child_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  void send(int signal) { ::kill(child_, signal); }
  void kill() {
    ::kill(child_, SIGKILL);
    wait();
  }
  bool has_ended() {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(child_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == child_;
  }
  std::string out() const { return read_bytes(log_ + ".out"); }
  std::string err() const { return read_bytes(log_ + ".err"); }

 private:
  std::string log_;
  pid_t child_ = -1;
};

struct Finished {
  int code;
  std::string out, err;
  nlohmann::json json() const { return nlohmann::json::parse(out); }
};

inline Finished run_program(const std::vector<std::string>& arguments, const TestFolder& folder,
                            const ProgramLimits& limits = {}) {
  RunningProgram program(arguments, folder / "log", limits);
  const int code = program.wait();
  return {code, program.out(), program.err()};
}

// metrics.jsonl without what depends on the clock and the machine.
inline std::vector<nlohmann::json> logged_steps(const std::string& out) {
  std::ifstream file(out + "/metrics.jsonl");
  std::vector<nlohmann::json> steps;
  for (std::string line; std::getline(file, line);) {
    const auto all = nlohmann::json::parse(line);
    nlohmann::json kept;
    for (const char* key : {"step", "loss", "lr", "grad_norm", "tokens"}) kept[key] = all.at(key);
    steps.push_back(kept);
  }
  return steps;
}

inline size_t logged_lines(const std::string& out) {
  std::ifstream file(out + "/metrics.jsonl");
  return static_cast<size_t>(std::count(std::istreambuf_iterator<char>(file), {}, '\n'));
}

inline void sleep_microseconds(long microseconds) {
  const timespec time{microseconds / 1000000, microseconds % 1000000 * 1000};
  ::nanosleep(&time, nullptr);
}

}  // namespace plimsoll
