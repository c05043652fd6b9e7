#include "hub/hub_environment.h"

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cstdlib>

#include "base/error.h"
#include "formats/text_file.h"

namespace plimsoll {
namespace {

std::atomic<bool> offline{false};

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

// "~/models" as a shell would read it.
std::string path_variable(const char* name) {
  const std::string value = variable(name);
  return value == "~" || value.starts_with("~/") ? variable("HOME") + value.substr(1) : value;
}

std::string home_folder() {
  if (const std::string home = path_variable("HF_HOME"); !home.empty()) return home;
  if (const std::string cache = path_variable("XDG_CACHE_HOME"); !cache.empty()) return cache + "/huggingface";
  return variable("HOME") + "/.cache/huggingface";
}

bool is_true(const char* name) {
  std::string value = variable(name);
  std::transform(value.begin(), value.end(), value.begin(), [](unsigned char c) { return std::toupper(c); });
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(" \t\r\n") + 1 - first);
}

}  // namespace

std::string hub_cache_folder() {
  const std::string cache = path_variable("HF_HUB_CACHE");
  return cache.empty() ? home_folder() + "/hub" : cache;
}

std::string hub_endpoint() {
  std::string endpoint = trimmed(variable("HF_ENDPOINT"));
  while (endpoint.ends_with('/')) endpoint.pop_back();
  return endpoint.empty() ? "https://huggingface.co" : endpoint;
}

std::string hub_token() {
  constexpr int64_t kLongestToken = 4096;
  std::string source = "HF_TOKEN";
  std::string token = trimmed(variable("HF_TOKEN"));
  if (token.empty()) {
    source = path_variable("HF_TOKEN_PATH");
    if (source.empty()) source = home_folder() + "/token";
    if (!file_exists(source)) return "";
    token = trimmed(read_text_file(source, kLongestToken));
  }
  if (!std::all_of(token.begin(), token.end(), [](unsigned char c) { return c > 0x20 && c < 0x7F; }))
    throw caller_error(source, "is no access token: it has blanks or letters that none has",
                       "write the token alone there, hf_…");
  return token;
}

bool hub_is_offline() { return offline || is_true("HF_HUB_OFFLINE") || is_true("TRANSFORMERS_OFFLINE"); }
void set_hub_offline() { offline = true; }

}  // namespace plimsoll
