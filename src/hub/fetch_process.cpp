#include "hub/fetch_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

extern char** environ;  // NOLINT: POSIX names it

namespace plimsoll {
namespace {

constexpr const char* kProgram = "plimsoll-fetch";
constexpr size_t kLongestReport = 64 << 10;

std::string program_path() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string path = (error ? std::filesystem::path(".") : self.parent_path()) / kProgram;
  if (::access(path.c_str(), X_OK) != 0)
    throw caller_error(path, "is missing; it fetches models from the hub",
                       "put it there (./dev build makes both programs), or fetch with: hf download org/name");
  return path;
}

std::string read_all(int descriptor) {
  std::string text;
  std::array<char, 4096> buffer{};
  while (true) {
    const ssize_t count = ::read(descriptor, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return text;
    if (text.size() < kLongestReport) text.append(buffer.data(), static_cast<size_t>(count));
  }
}

}  // namespace

std::string report_fetched(const std::string& snapshot) { return "ok\n" + snapshot + "\n"; }

std::string report_fetch_error(int kind, const std::string& thing, const std::string& problem,
                               const std::string& way_out) {
  return fmt::format("error {}\n{}\n{}\n{}\n", kind, one_line(thing, 1000), one_line(problem, 1000),
                     one_line(way_out, 1000));
}

std::string read_fetch_report(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  if (lines.size() == 2 && lines[0] == "ok") return lines[1];
  if (lines.size() == 4 && lines[0] == "error 2") throw caller_error(lines[1], lines[2], lines[3]);
  if (lines.size() == 4 && lines[0] == "error 4") throw world_error(lines[1], lines[2], lines[3]);
  if (lines.size() == 4) throw Error(ErrorKind::internal, lines[1], lines[2], lines[3]);
  throw world_error(kProgram, "ended without a word", "run again: it goes on where it was");
}

std::string run_fetch_process(const HubId& id, ModelNeed need) {
  const std::string program = program_path();
  const std::string name = id.text(), need_text(need_name(need));
  const char* quiet = log_level() == LogLevel::quiet ? "--quiet" : nullptr;
  std::array<const char*, 5> arguments = {program.c_str(), name.c_str(), need_text.c_str(), quiet, nullptr};

  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0)
    throw world_error(kProgram, "cannot be started", "close other programs", errno);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe[1], STDOUT_FILENO);
  pid_t child = 0;
  const int failure =
      ::posix_spawn(&child, program.c_str(), &actions, nullptr, const_cast<char**>(arguments.data()), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(pipe[1]);
  if (failure != 0) {
    ::close(pipe[0]);
    throw world_error(program, "cannot be started", "check the file", failure);
  }
  const std::string text = read_all(pipe[0]);
  ::close(pipe[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return read_fetch_report(text);
}

}  // namespace plimsoll
