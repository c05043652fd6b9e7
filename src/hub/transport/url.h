// http and https addresses, as far as a download needs them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace plimsoll {

struct Url {
  std::string origin;  // "https://host:port", lower case; the port left out where it is the scheme's own
  std::string path;    // "/a/b?query", as it is sent

  bool is_tls() const { return origin.starts_with("https:"); }
  std::string text() const { return origin + path; }
  std::string host() const;  // for people
};

// Empty unless it is an http(s) address of printable ASCII without user names.
std::optional<Url> parse_url(std::string_view text);

// The address that a Location header means on a page at `base`.
std::optional<Url> resolve_url(const Url& base, std::string_view location);

// Everything but letters, digits, - _ . ~ and, with `keep_slashes`, / as %XX.
std::string escape_path(std::string_view text, bool keep_slashes);

}  // namespace plimsoll
