// Lines that a person types, with editing and a history, or lines of a pipe.
#pragma once

#include <memory>
#include <string>

namespace plimsoll::cli {

class ChatInput {
 public:
  enum class Event { line, interrupt, end };

  virtual ~ChatInput() = default;
  // `interrupt`: Ctrl-C at the prompt; what was typed is dropped. `end`: Ctrl-D, or the end of the pipe.
  virtual Event next(std::string& line) = 0;
};

// Editing by libedit, on stderr, so that stdout has the answers alone. The history lasts as long as the object.
std::unique_ptr<ChatInput> open_terminal_input(const std::string& prompt);
std::unique_ptr<ChatInput> open_piped_input();

}  // namespace plimsoll::cli
