// One connection to a hub, over libcurl: GET with redirects, the answer streamed to a sink.
// Certificates are always checked. The token goes to the host of the endpoint and to no other.
// Proxies are those of http_proxy and https_proxy, certificates those of the system or of SSL_CERT_FILE.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "hub/transport/url.h"

namespace plimsoll {

struct HttpOptions {
  Url endpoint;
  std::string token;  // empty: none
  std::chrono::milliseconds connect_timeout{10000};
  std::chrono::milliseconds read_timeout{30000};  // of silence
  // Called once for a request that has no answer after this time; must not throw.
  std::chrono::milliseconds patience{3000};
  std::function<void()> on_waiting = {};
};

struct HttpHead {
  int status = 0;
  std::string error_code;     // X-Error-Code: RepoNotFound, GatedRepo, RevisionNotFound, …
  std::string content_range;  // "bytes 0-99/1234"
  std::optional<int64_t> content_length;
  int64_t retry_after_seconds = 0;
  Url url;  // of the answer, after redirects
};

enum class HttpEnd : uint8_t {
  complete,     // the whole body came, as far as its length was said
  stopped,      // by on_head or the sink
  lost,         // no connection, or it broke; worth another try
  untrusted,    // the certificate cannot be verified
  bad_redirect  // too many, to an unreadable address, or from https to http
};

struct HttpResult {
  HttpEnd end = HttpEnd::lost;
  HttpHead head;       // status 0: no answer came
  std::string reason;  // for people, of an end that is not complete
};

// Used by one thread at a time.
class HttpConnection {
 public:
  explicit HttpConnection(HttpOptions options);
  ~HttpConnection();
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  // on_head sees the answer that is no redirect before its body, sink the body in pieces; false from either ends it.
  // `range` is empty or "bytes=0-99". Throws what these throw, and a world Error when libcurl itself fails.
  HttpResult get(const Url& url, const std::string& range, const std::function<bool(const HttpHead&)>& on_head,
                 const std::function<bool(std::string_view)>& sink);

 private:
  struct Client;
  HttpOptions options_;
  std::unique_ptr<Client> client_;
};

}  // namespace plimsoll
