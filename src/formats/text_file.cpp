#include "formats/text_file.h"

#include <filesystem>
#include <system_error>

#include "base/error.h"
#include "formats/tensor_index.h"

namespace plimsoll {

std::string read_text_file(const std::string& path, int64_t limit_bytes) {
  const InputFile file(path);
  if (file.size() > limit_bytes) {
    throw caller_error(path,
                       "is " + format_bytes(file.size()) + " long, more than the " + format_bytes(limit_bytes) +
                           " that such a file may have",
                       "check that this is the file you meant");
  }
  std::string text(static_cast<size_t>(file.size()), '\0');
  file.read(0, std::as_writable_bytes(std::span(text.data(), text.size())));
  return text;
}

bool file_exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored);
}

bool folder_exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_directory(path, ignored);
}

}  // namespace plimsoll
