#include "hub/hub_id.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "base/text.h"

namespace plimsoll {
namespace {

constexpr size_t kLongestRepo = 200;
constexpr size_t kLongestPath = 1000;
constexpr size_t kLongestPart = 200;  // a file name, with what is appended to it

constexpr std::array<std::string_view, 3> kNeedNames = {"config", "text", "weights"};

bool is_word(std::string_view text) {
  return !text.empty() && text.front() != '.' && text.front() != '-' && text.find("..") == std::string_view::npos &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return (c < 128 && std::isalnum(c) != 0) || c == '-' || c == '_' || c == '.';
         });
}

bool is_repo(std::string_view text) {
  const size_t slash = text.find('/');
  return text.size() <= kLongestRepo && slash != std::string_view::npos && is_word(text.substr(0, slash)) &&
         is_word(text.substr(slash + 1));
}

// Words between single slashes, as in refs/pr/1.
bool is_revision(std::string_view text) {
  if (text.size() > kLongestRepo) return false;
  while (true) {
    const size_t slash = text.find('/');
    if (!is_word(text.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    text.remove_prefix(slash + 1);
  }
}

}  // namespace

std::string HubId::text() const {
  return repo + (revision == "main" ? "" : "@" + revision) + (file.empty() ? "" : ":" + file);
}

std::string_view need_name(ModelNeed need) { return kNeedNames[static_cast<size_t>(need)]; }

std::optional<ModelNeed> parse_need(std::string_view name) {
  const auto found = std::find(kNeedNames.begin(), kNeedNames.end(), name);
  if (found == kNeedNames.end()) return std::nullopt;
  return static_cast<ModelNeed>(found - kNeedNames.begin());
}

std::optional<HubId> parse_hub_id(std::string_view text) {
  HubId id;
  if (const size_t colon = text.find(':'); colon != std::string_view::npos) {
    id.file = text.substr(colon + 1);
    if (!is_safe_repo_path(id.file)) return std::nullopt;
    text = text.substr(0, colon);
  }
  if (const size_t at = text.find('@'); at != std::string_view::npos) {
    id.revision = text.substr(at + 1);
    if (!is_revision(id.revision)) return std::nullopt;
    text = text.substr(0, at);
  }
  if (!is_repo(text)) return std::nullopt;
  id.repo = text;
  return id;
}

bool is_safe_repo_path(std::string_view path) {
  if (path.empty() || path.size() > kLongestPath || !is_valid_utf8(path)) return false;
  if (std::any_of(path.begin(), path.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F || c == '\\'; }))
    return false;
  while (true) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part == "." || part == ".." || part.size() > kLongestPart) return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

bool is_commit(std::string_view revision) {
  return revision.size() == 40 && std::all_of(revision.begin(), revision.end(), [](unsigned char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace plimsoll
