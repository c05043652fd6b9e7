#include "hub/transport/http_connection.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <strings.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <exception>

#include "base/error.h"
#include "base/text.h"

namespace plimsoll {
namespace {

constexpr int kMostRedirects = 6;
constexpr int64_t kLongestWait = 60;
constexpr size_t kLongestRedirectBody = 64 << 10;
constexpr long kLeastBytesPerSecond = 64;  // slower than this, over read_timeout, counts as silence

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// One request while libcurl runs it. Nothing may be thrown through libcurl: what its callbacks throw waits here.
struct Exchange {
  const std::function<bool(const HttpHead&)>& on_head;
  const std::function<bool(std::string_view)>& sink;
  HttpHead head = {};
  std::string location = {};
  size_t redirect_bytes = 0;
  bool stopped = false;
  std::exception_ptr error = nullptr;

  bool call(const std::function<bool()>& action) {
    try {
      stopped = !action();
    } catch (...) {
      error = std::current_exception();
      stopped = true;
    }
    return !stopped;
  }

  bool take_line(std::string_view line) {
    while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.remove_suffix(1);
    if (line.starts_with("HTTP/")) {  // another answer begins, perhaps after an interim one
      const Url url = head.url;
      head = {};
      head.url = url;
      location.clear();
      const size_t space = std::min(line.find(' '), line.size() - 1);
      head.status = static_cast<int>(parse_integer(line.substr(space + 1, 3)).value_or(0));
      return true;
    }
    if (line.empty())  // the head is complete
      return head.status < 200 || is_redirect(head.status) || call([&] { return on_head(head); });
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) return true;
    std::string_view value = line.substr(colon + 1);
    while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
    const auto is = [name = std::string(line.substr(0, colon))](const char* other) {
      return ::strcasecmp(name.c_str(), other) == 0;
    };
    if (is("Location")) location = value;
    else if (is("X-Error-Code")) head.error_code = one_line(value, 100);
    else if (is("Content-Range")) head.content_range = one_line(value, 100);
    else if (is("Content-Length")) head.content_length = parse_integer(value);
    else if (is("Retry-After"))
      head.retry_after_seconds = std::clamp<int64_t>(parse_integer(value).value_or(0), 0, kLongestWait);
    return true;
  }

  bool take_body(std::string_view bytes) {
    if (!is_redirect(head.status)) return call([&] { return sink(bytes); });
    redirect_bytes += bytes.size();
    return redirect_bytes <= kLongestRedirectBody;
  }
};

size_t on_header(char* data, size_t size, size_t count, void* exchange) {
  return static_cast<Exchange*>(exchange)->take_line({data, size * count}) ? size * count : 0;
}
size_t on_body(char* data, size_t size, size_t count, void* exchange) {
  return static_cast<Exchange*>(exchange)->take_body({data, size * count}) ? size * count : 0;
}

// libcurl calls this about once a second, also while nothing comes.
struct Waiting {
  const HttpOptions& options;
  const HttpHead& head;
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
  bool said = false;
};
int on_idle(void* waiting, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto& state = *static_cast<Waiting*>(waiting);
  if (state.said || state.head.status != 0 || !state.options.on_waiting ||
      std::chrono::steady_clock::now() - state.start < state.options.patience)
    return 0;
  state.said = true;
  state.options.on_waiting();
  return 0;
}

struct Headers {
  curl_slist* list = nullptr;
  ~Headers() { curl_slist_free_all(list); }
  void add(const std::string& line) {
    curl_slist* longer = curl_slist_append(list, line.c_str());
    if (longer == nullptr) throw std::bad_alloc();
    list = longer;
  }
};

HttpEnd end_of(CURLcode code) {
  switch (code) {
    case CURLE_OK:
      return HttpEnd::complete;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
      return HttpEnd::untrusted;
    default:
      return HttpEnd::lost;
  }
}

}  // namespace

struct HttpConnection::Client {
  CURL* curl = nullptr;
  std::array<char, CURL_ERROR_SIZE> words{};

  explicit Client(const HttpOptions& options) {
    static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
    curl = ready == CURLE_OK ? curl_easy_init() : nullptr;
    if (curl == nullptr) throw world_error("libcurl", "cannot be started", "check the installation of libcurl4");
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    set(CURLOPT_FOLLOWLOCATION, 0L);                                      // we do that: the token must not go along
    set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));  // a stream a connection
    set(CURLOPT_PATH_AS_IS, 1L);
    set(CURLOPT_SSL_VERIFYPEER, 1L);
    set(CURLOPT_SSL_VERIFYHOST, 2L);
    set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options.connect_timeout.count()));
    set(CURLOPT_LOW_SPEED_LIMIT, kLeastBytesPerSecond);
    set(CURLOPT_LOW_SPEED_TIME, std::max(1L, static_cast<long>(options.read_timeout.count() / 1000)));
    set(CURLOPT_ERRORBUFFER, words.data());
    set(CURLOPT_HEADERFUNCTION, on_header);
    set(CURLOPT_WRITEFUNCTION, on_body);
    set(CURLOPT_XFERINFOFUNCTION, on_idle);
    set(CURLOPT_NOPROGRESS, 0L);
    for (const char* name : {"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"})
      if (const char* file = std::getenv(name); file != nullptr && *file != '\0') {
        set(CURLOPT_CAINFO, file);
        break;
      }
  }
  ~Client() { curl_easy_cleanup(curl); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  template <typename Value>
  void set(CURLoption option, Value value) {
    if (curl_easy_setopt(curl, option, value) != CURLE_OK)
      throw world_error("libcurl", fmt::format("does not know option {}", static_cast<int>(option)),
                        "check the installation of libcurl4, 7.88 or later");
  }
};

HttpConnection::HttpConnection(HttpOptions options)
    : options_(std::move(options)), client_(std::make_unique<Client>(options_)) {}
HttpConnection::~HttpConnection() = default;

HttpResult HttpConnection::get(const Url& start, const std::string& range,
                               const std::function<bool(const HttpHead&)>& on_head,
                               const std::function<bool(std::string_view)>& sink) {
  HttpResult result;
  Url url = start;
  for (int redirects = 0;; ++redirects) {
    Headers headers;
    headers.add("User-Agent: plimsoll");
    headers.add("Accept-Encoding: identity");
    if (!range.empty()) headers.add("Range: " + range);
    if (!options_.token.empty() && url.origin == options_.endpoint.origin)
      headers.add("Authorization: Bearer " + options_.token);

    Exchange exchange{.on_head = on_head, .sink = sink};
    exchange.head.url = url;
    const std::string address = url.text();
    client_->set(CURLOPT_URL, address.c_str());
    client_->set(CURLOPT_HTTPHEADER, headers.list);
    client_->set(CURLOPT_HEADERDATA, &exchange);
    client_->set(CURLOPT_WRITEDATA, &exchange);
    Waiting waiting{options_, exchange.head};
    client_->set(CURLOPT_XFERINFODATA, &waiting);
    client_->words[0] = '\0';
    const CURLcode code = curl_easy_perform(client_->curl);
    client_->set(CURLOPT_HTTPHEADER, static_cast<curl_slist*>(nullptr));
    if (exchange.error) std::rethrow_exception(exchange.error);
    result.head = exchange.head;

    if (is_redirect(exchange.head.status) && !exchange.location.empty()) {
      const std::optional<Url> next = resolve_url(url, exchange.location);
      result.end = HttpEnd::bad_redirect;
      if (!next) result.reason = fmt::format("it points on to '{}'", one_line(exchange.location, 100));
      else if (url.is_tls() && !next->is_tls()) result.reason = fmt::format("it points from https to {}", next->origin);
      else if (redirects == kMostRedirects) result.reason = "it points on and on";
      else {
        url = *next;
        continue;
      }
      return result;
    }
    result.end = exchange.stopped ? HttpEnd::stopped : end_of(code);
    if (is_redirect(exchange.head.status)) {
      result.end = HttpEnd::bad_redirect;
      result.reason = "it points on to nowhere";
    } else if (result.end != HttpEnd::complete && !exchange.stopped) {
      result.reason = one_line(client_->words[0] != '\0' ? client_->words.data() : curl_easy_strerror(code), 200);
    }
    return result;
  }
}

}  // namespace plimsoll
