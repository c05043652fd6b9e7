#include "cli/input/chat_input.h"

#include <histedit.h>
#include <langinfo.h>
#include <unistd.h>

#include <clocale>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "base/error.h"
#include "cli/input/input_file.h"

namespace plimsoll::cli {
namespace {

constexpr int kHistoryLines = 1000;

class TerminalInput final : public ChatInput {
 public:
  explicit TerminalInput(std::string prompt) : prompt_(std::move(prompt)) {
    // libedit decodes what is typed by the locale; text here is UTF-8 whatever the locale says.
    std::setlocale(LC_CTYPE, "");
    if (std::string_view(nl_langinfo(CODESET)) != "UTF-8") std::setlocale(LC_CTYPE, "C.UTF-8");
    history_ = history_init();
    edit_ = el_init("plimsoll", stdin, stderr, stderr);
    if (history_ == nullptr || edit_ == nullptr) {
      close();
      throw world_error("the terminal", "cannot be used for editing", "check TERM, or pipe the lines in");
    }
    HistEvent event;
    history(history_, &event, H_SETSIZE, kHistoryLines);
    history(history_, &event, H_SETUNIQUE, 1);
    el_set(edit_, EL_CLIENTDATA, this);
    el_set(edit_, EL_PROMPT, &TerminalInput::prompt_of);
    el_set(edit_, EL_EDITOR, "emacs");
    el_set(edit_, EL_HIST, history, history_);
    // At the prompt Ctrl-C is a key, so that it cannot end the program between two lines.
    el_set(edit_, EL_SETTY, "-d", "-isig", nullptr);
    el_set(edit_, EL_ADDFN, "plimsoll-interrupt", "drop the line", &TerminalInput::drop_line);
    el_set(edit_, EL_BIND, "^C", "plimsoll-interrupt", nullptr);
  }
  ~TerminalInput() override { close(); }
  TerminalInput(const TerminalInput&) = delete;
  TerminalInput& operator=(const TerminalInput&) = delete;

  Event next(std::string& line) override {
    interrupted_ = false;
    // libedit shows the prompt before it makes Ctrl-C a key.
    el_set(edit_, EL_PREP_TERM, 1);
    int count = 0;
    const char* text = el_gets(edit_, &count);
    if (interrupted_) {
      std::fputs("\n", stderr);
      return Event::interrupt;
    }
    if (text == nullptr || count <= 0) {
      std::fputs("\n", stderr);
      return Event::end;
    }
    line.assign(text, static_cast<size_t>(count));
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
    HistEvent event;
    if (!line.empty()) history(history_, &event, H_ENTER, line.c_str());
    return Event::line;
  }

 private:
  static TerminalInput& self(EditLine* edit) {
    void* data = nullptr;
    el_get(edit, EL_CLIENTDATA, &data);
    return *static_cast<TerminalInput*>(data);
  }
  static char* prompt_of(EditLine* edit) { return self(edit).prompt_.data(); }
  static unsigned char drop_line(EditLine* edit, int) {
    self(edit).interrupted_ = true;
    return CC_NEWLINE;
  }

  void close() {
    if (edit_ != nullptr) el_end(edit_);
    if (history_ != nullptr) history_end(history_);
  }

  std::string prompt_;
  EditLine* edit_ = nullptr;
  History* history_ = nullptr;
  bool interrupted_ = false;
};

class PipedInput final : public ChatInput {
 public:
  Event next(std::string& line) override {
    if (!lines_.next(line)) return Event::end;
    if (line.ends_with('\r')) line.pop_back();
    return Event::line;
  }

 private:
  LineReader lines_{"-"};
};

}  // namespace

std::unique_ptr<ChatInput> open_terminal_input(const std::string& prompt) {
  return std::make_unique<TerminalInput>(prompt);
}
std::unique_ptr<ChatInput> open_piped_input() { return std::make_unique<PipedInput>(); }

}  // namespace plimsoll::cli
