#include "cli/text/output.h"

#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "cli/text/terminal.h"

namespace plimsoll::cli {

void write_result(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written > 0) {
      text.remove_prefix(static_cast<size_t>(written));
      continue;
    }
    if (written < 0 && errno == EINTR) continue;
    const int reason = written < 0 ? errno : ENOSPC;
    throw world_error("standard output", "the result cannot be written",
                      reason == EPIPE ? "keep the reading program open" : "write to a place that is open and has room",
                      reason);
  }
}

void write_page(std::string_view text) {
  const Terminal terminal = inspect_terminal(STDOUT_FILENO);
  write_result(terminal.is_terminal ? wrap_lines(text, terminal.width) : std::string(text));
}

void write_json(const Json& document) {
  write_result(document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

void write_json_line(const Json& document) {
  write_result(document.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace plimsoll::cli
