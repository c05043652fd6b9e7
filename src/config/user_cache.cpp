#include "config/user_cache.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace plimsoll {
namespace {

namespace fs = std::filesystem;

constexpr uintmax_t kLargest = 1 << 20;

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

std::string user_cache_folder() {
  if (const std::string own = variable("PLIMSOLL_CACHE"); !own.empty()) return own == "off" ? "" : own;
  if (const std::string cache = variable("XDG_CACHE_HOME"); cache.starts_with('/')) return cache + "/plimsoll";
  if (const std::string home = variable("HOME"); home.starts_with('/')) return home + "/.cache/plimsoll";
  return "";
}

std::optional<std::string> read_user_cache(const std::string& name, double most_days) {
  const std::string folder = user_cache_folder();
  if (folder.empty()) return {};
  const fs::path path = fs::path(folder) / name;
  std::error_code error;
  if (!fs::is_regular_file(path, error) || fs::file_size(path, error) > kLargest || error) return {};
  const auto written = fs::last_write_time(path, error);
  const std::chrono::duration<double> age = fs::file_time_type::clock::now() - written;
  if (error || age.count() > most_days * 86400) return {};
  std::ifstream file(path);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  return text.str();
}

void write_user_cache(const std::string& name, const std::string& text) noexcept {
  try {
    const std::string folder = user_cache_folder();
    if (folder.empty()) return;
    std::error_code error;
    fs::create_directories(folder, error);
    const fs::path path = fs::path(folder) / name;
    const fs::path temporary = path.string() + fmt::format(".{}", ::getpid());
    {
      std::ofstream file(temporary);
      file << text;
      if (!file.flush()) error = std::make_error_code(std::errc::io_error);
    }
    if (!error) fs::rename(temporary, path, error);
    if (error) fs::remove(temporary, error);
  } catch (...) {  // a cache is no reason to fail
  }
}

std::string rates_file_name(const char* instructions, const char* precision, int threads) {
  return fmt::format("cpu-{}-{}-{}-threads.json", instructions, precision, threads);
}

}  // namespace plimsoll
