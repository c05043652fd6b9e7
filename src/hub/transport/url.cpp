#include "hub/transport/url.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "base/text.h"

namespace plimsoll {
namespace {

constexpr size_t kLongestUrl = 7000;  // a request line that every server takes; signed addresses have 2000

bool is_host(std::string_view host) {
  if (host.size() > 2 && host.front() == '[' && host.back() == ']')
    return host.find_first_not_of("0123456789abcdef:.", 1) == host.size() - 1;
  return !host.empty() && host.size() <= 255 && std::all_of(host.begin(), host.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '.' || c == '_';
  });
}

}  // namespace

std::string Url::host() const { return origin.substr(origin.find("//") + 2); }

std::optional<Url> parse_url(std::string_view text) {
  if (text.size() > kLongestUrl) return std::nullopt;
  if (!std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > 0x20 && c < 0x7F; })) return std::nullopt;
  text = text.substr(0, text.find('#'));
  const size_t colon = text.find("://");
  if (colon == std::string_view::npos) return std::nullopt;
  const auto lower = [](std::string_view part) {
    std::string out(part);
    std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
    return out;
  };
  const std::string scheme = lower(text.substr(0, colon));
  if (scheme != "http" && scheme != "https") return std::nullopt;
  text.remove_prefix(colon + 3);
  const size_t end = std::min(text.find_first_of("/?"), text.size());
  std::string host = lower(text.substr(0, end));
  std::string port;
  if (const size_t at = host.rfind(':'); at != std::string::npos && host.find(']', at) == std::string::npos) {
    const std::optional<int64_t> number = parse_integer(host.substr(at + 1));
    if (!number || *number < 1 || *number > 65535) return std::nullopt;
    if (*number != (scheme == "https" ? 443 : 80)) port = fmt::format(":{}", *number);
    host.resize(at);
  }
  if (!is_host(host)) return std::nullopt;
  std::string path(text.substr(end));
  if (path.empty() || path.front() != '/') path.insert(0, "/");
  return Url{scheme + "://" + host + port, std::move(path)};
}

std::optional<Url> resolve_url(const Url& base, std::string_view location) {
  if (location.starts_with("//"))
    return parse_url(base.origin.substr(0, base.origin.find(':') + 1) + std::string(location));
  if (location.starts_with("/")) return parse_url(base.origin + std::string(location));
  if (location.find("://") != std::string_view::npos) return parse_url(location);
  const std::string folder = base.path.substr(0, base.path.substr(0, base.path.find('?')).rfind('/') + 1);
  return parse_url(base.origin + folder + std::string(location));
}

std::string escape_path(std::string_view text, bool keep_slashes) {
  std::string out;
  for (const char letter : text) {
    const auto c = static_cast<unsigned char>(letter);
    const bool plain = (c < 128 && std::isalnum(c) != 0) || c == '-' || c == '_' || c == '.' || c == '~';
    if (plain || (c == '/' && keep_slashes)) out += letter;
    else out += fmt::format("%{:02X}", c);
  }
  return out;
}

}  // namespace plimsoll
