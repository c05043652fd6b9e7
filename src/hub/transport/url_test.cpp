#include "hub/transport/url.h"

#include <gtest/gtest.h>

namespace plimsoll {
namespace {

TEST(Url, PartsAndLimits) {
  EXPECT_EQ(parse_url("HTTPS://Example.org:443/A?b#c")->text(), "https://example.org/A?b");
  EXPECT_EQ(parse_url("http://[::1]:8080")->text(), "http://[::1]:8080/");
  for (const char* bad : {"", "example.org", "ftp://a/", "http://", "http://a b/", "http://u:p@h/", "http://h:0/",
                          "http://h:99999/", "http://h\r\nx: y/"})
    EXPECT_FALSE(parse_url(bad)) << bad;
  const Url base = *parse_url("https://h:8/a/b?c/d");
  EXPECT_EQ(resolve_url(base, "/x")->text(), "https://h:8/x");
  EXPECT_EQ(resolve_url(base, "x")->text(), "https://h:8/a/x");
  EXPECT_EQ(resolve_url(base, "//i/x")->text(), "https://i/x");
  EXPECT_EQ(resolve_url(base, "http://i")->text(), "http://i/");
  EXPECT_EQ(escape_path("refs/pr/1", false), "refs%2Fpr%2F1");
  EXPECT_EQ(escape_path("a b/ä", true), "a%20b/%C3%A4");
}

}  // namespace
}  // namespace plimsoll
