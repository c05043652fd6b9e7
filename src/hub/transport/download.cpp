#include "hub/transport/download.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <filesystem>
#include <mutex>
#include <optional>
#include <thread>

#include "base/bytes.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "hub/transport/blob_lock.h"
#include "hub/transport/partial_file.h"

namespace plimsoll {
namespace {

constexpr size_t kBufferBytes = 256 << 10;
constexpr int kMostQuestions = 3;           // a hub that does not answer is told of soon
constexpr int64_t kRealProgress = 1 << 20;  // what a try must bring for the count of tries to begin anew

// Statuses that may be otherwise in a moment.
bool is_passing(int status) {
  return status == 408 || status == 425 || status == 429 || (status >= 500 && status < 600);
}

Error refused(const HttpHead& head, const HubId& id, const Url& endpoint, bool has_token) {
  const std::string host = endpoint.host();
  const std::string page = endpoint.origin + "/" + id.repo;
  if (head.error_code == "RevisionNotFound")
    return caller_error(id.text(), fmt::format("{} has no revision '{}' of it", host, id.revision),
                        fmt::format("look at {} for its branches and tags", page));
  if (head.error_code == "GatedRepo" || (head.status == 403 && has_token))
    return caller_error(id.text(), fmt::format("{} lets only those read it who accepted its terms", host),
                        has_token
                            ? fmt::format("accept them at {} with the account of this token", page)
                            : fmt::format("accept them at {}, and set HF_TOKEN to a token of that account", page));
  if (head.status == 401 || head.status == 403)
    return caller_error(id.text(),
                        has_token ? fmt::format("is not on {}, or this token may not read it", host)
                                  : fmt::format("is no file here, and on {} not there or private", host),
                        has_token ? "check the name, and the token's rights"
                                  : "check the name; for a private model set HF_TOKEN to a token that may read it");
  if (head.status == 404 || head.status == 410)
    return caller_error(id.text(), fmt::format("is no file here, and {} does not have it", host),
                        "check the name, org/name as in the address of its page");
  return world_error(id.text(), fmt::format("{} answers with status {}", host, head.status), "try again later");
}

Error untrusted(const Url& url, const HttpResult& result) {
  return world_error(url.host(), fmt::format("its certificate cannot be verified: {}", result.reason),
                     "check the clock and the package ca-certificates; SSL_CERT_FILE names further certificates");
}

Error bad_redirect(const HubId& id, const HttpResult& result) {
  return world_error(id.text(), fmt::format("the hub's answer cannot be followed: {}", result.reason),
                     "check HF_ENDPOINT; nothing was sent there");
}

// "bytes 100-199/1234" → first and total; empty when it is something else.
std::optional<std::pair<int64_t, int64_t>> parse_content_range(std::string_view text) {
  const size_t dash = text.find('-'), slash = text.find('/');
  if (!text.starts_with("bytes ") || dash == std::string_view::npos || slash == std::string_view::npos || dash > slash)
    return std::nullopt;
  const auto first = parse_integer(text.substr(6, dash - 6)), total = parse_integer(text.substr(slash + 1));
  if (!first || !total) return std::nullopt;
  return std::pair{*first, *total};
}

Error wrong_size(const HubFile& file, const std::string& served) {
  return world_error(file.path, fmt::format("the hub lists {} bytes and serves {}", file.size, served),
                     "run again; if that does not help, something on the way changes it");
}

}  // namespace

// A file in transfer, shared by its threads.
struct Downloader::Transfer {
  const HubFile& file;
  const HubId& id;
  Url url;
  PartialFile partial;

  std::mutex mutex;
  std::condition_variable wake;
  size_t next_piece = 0;
  bool stop = false;
  bool ranges_ignored = false;  // the server sends the whole file, whatever is asked
  std::exception_ptr error;     // the first
  std::optional<Url> resolved;  // where the hub pointed to, for this file

  Transfer(const HubFile& f, const HubId& i, Url u, const std::string& path, int64_t piece_bytes)
      : file(f), id(i), url(std::move(u)), partial(path, f, piece_bytes) {}

  void fail(std::exception_ptr reason) {
    const std::lock_guard lock(mutex);
    if (!error) error = std::move(reason);
    stop = true;
    wake.notify_all();
  }
  bool stopped() {
    const std::lock_guard lock(mutex);
    return stop;
  }
};

Downloader::Downloader(DownloadOptions options) : options_(std::move(options)) {}
Downloader::~Downloader() = default;

HttpConnection& Downloader::connection(size_t index) {
  while (connections_.size() <= index) connections_.push_back(std::make_unique<HttpConnection>(options_.http));
  return *connections_[index];
}

std::string Downloader::get_text(const Url& url, const HubId& id, int64_t limit_bytes) {
  std::chrono::milliseconds pause = options_.first_pause;
  const int tries = std::min(options_.tries, kMostQuestions);
  if (!questions_) {
    HttpOptions http = options_.http;
    http.read_timeout = std::min(http.read_timeout, options_.answer_timeout);
    http.on_waiting = [host = url.host()] { log_note(fmt::format("waiting for {} to answer", host)); };
    questions_ = std::make_unique<HttpConnection>(http);
  }
  for (int attempt = 1;; ++attempt) {
    std::string text;
    bool too_long = false;
    const auto on_head = [&](const HttpHead& head) { return head.status == 200; };
    const auto sink = [&](std::string_view bytes) {
      too_long = static_cast<int64_t>(text.size() + bytes.size()) > limit_bytes;
      if (!too_long) text += bytes;
      return !too_long;
    };
    const HttpResult result = questions_->get(url, "", on_head, sink);
    if (too_long)
      throw world_error(id.text(), fmt::format("{} answers with more than {}", url.host(), format_bytes(limit_bytes)),
                        "is this a hub? HF_ENDPOINT says which is asked");
    if (result.end == HttpEnd::complete) return text;
    if (result.end == HttpEnd::untrusted) throw untrusted(url, result);
    if (result.end == HttpEnd::bad_redirect) throw bad_redirect(id, result);
    const int status = result.head.status;
    if (result.end == HttpEnd::stopped && !is_passing(status))
      throw refused(result.head, id, options_.http.endpoint, !options_.http.token.empty());
    if (attempt >= tries)
      throw world_error(id.text(),
                        fmt::format("is no file here, and {} cannot be asked for it: {}", url.host(),
                                    result.end == HttpEnd::lost ? result.reason : fmt::format("status {}", status)),
                        "check the network and the name, and run again");
    log_note(fmt::format("{} {}, try {} of {}", url.host(),
                         status == 0 ? "did not answer" : fmt::format("answers with status {}", status), attempt + 1,
                         tries));
    std::this_thread::sleep_for(
        std::max<std::chrono::milliseconds>(pause, std::chrono::seconds(result.head.retry_after_seconds)));
    pause *= 2;
  }
}

// One question for what is missing of a piece, and its answer.
class Downloader::PieceTry {
 public:
  PieceTry(Transfer& transfer, const DownloadOptions& options, size_t index, std::string& buffer)
      : transfer_(transfer),
        options_(options),
        index_(index),
        piece_(transfer.partial.pieces()[index]),
        // Without a range where none is needed: every server can do that.
        ranged_(piece_.begin > 0 || piece_.end < transfer.file.size || piece_.done > 0),
        buffer_(buffer) {}

  // Throws what a sound hub would not give. What arrived is in the file afterwards.
  HttpResult ask(HttpConnection& connection, const Url& url) {
    const std::string range = ranged_ ? fmt::format("bytes={}-{}", piece_.begin + piece_.done, piece_.end - 1) : "";
    const HttpResult result = connection.get(
        url, range, [this](const HttpHead& head) { return caught([&] { return accept(head); }); },
        [this](std::string_view bytes) { return caught([&] { return take(bytes); }); });
    if (error_) std::rethrow_exception(error_);
    if (!buffer_.empty()) flush();
    return result;
  }
  // The signed address that was asked is no longer good.
  bool expired() const { return expired_; }

 private:
  // Nothing may be thrown through the connection: an error ends the answer and is kept.
  template <typename Body>
  bool caught(Body&& body) {
    try {
      return body();
    } catch (...) {
      error_ = std::current_exception();
      return false;
    }
  }
  bool accept(const HttpHead& head);
  bool take(std::string_view bytes);
  bool flush();

  Transfer& transfer_;
  const DownloadOptions& options_;
  const size_t index_;
  const FilePiece& piece_;
  const bool ranged_;
  std::string& buffer_;
  std::exception_ptr error_;
  bool expired_ = false;
};

bool Downloader::PieceTry::accept(const HttpHead& head) {
  const HubFile& file = transfer_.file;
  const bool elsewhere = head.url.origin != transfer_.url.origin;  // a signed address that the hub pointed to
  if (head.status == 200 && ranged_) {
    const std::lock_guard lock(transfer_.mutex);
    transfer_.ranges_ignored = transfer_.stop = true;
    transfer_.wake.notify_all();
    return false;
  }
  if (head.status == 206 && ranged_) {
    const auto served = parse_content_range(head.content_range);
    if (!served || served->first != piece_.begin + piece_.done)
      throw world_error(file.path, "the hub serves another part than the one asked for",
                        "run again; if that does not help, ask another hub (HF_ENDPOINT)");
    if (served->second != file.size) throw wrong_size(file, std::to_string(served->second));
  } else if (head.status == 200) {
    if (head.content_length && *head.content_length != file.size)
      throw wrong_size(file, std::to_string(*head.content_length));
  } else if (head.status == 416) {
    throw wrong_size(file, "fewer");
  } else {
    // Signed addresses live for a while only.
    expired_ = elsewhere && head.status >= 400 && head.status < 500 && head.status != 429;
    if (!expired_ && (head.status == 404 || head.status == 410))
      throw world_error(transfer_.id.text(),
                        fmt::format("{} lists {} and does not have it (status {})", options_.http.endpoint.host(),
                                    one_line(file.path, 200), head.status),
                        "run again later; if that does not help, try another revision, org/name@REVISION");
    if (!expired_ && !is_passing(head.status))
      throw refused(head, transfer_.id, options_.http.endpoint, !options_.http.token.empty());
    return false;
  }
  if (elsewhere) {  // the other pieces need not ask the hub again
    const std::lock_guard lock(transfer_.mutex);
    transfer_.resolved = head.url;
  }
  return true;
}

bool Downloader::PieceTry::take(std::string_view bytes) {
  if (static_cast<int64_t>(buffer_.size() + bytes.size()) > piece_.end - piece_.begin - piece_.done)
    throw wrong_size(transfer_.file, "more");
  while (!bytes.empty()) {
    const size_t count = std::min(bytes.size(), kBufferBytes - buffer_.size());
    buffer_ += bytes.substr(0, count);
    bytes.remove_prefix(count);
    if (buffer_.size() == kBufferBytes && !flush()) return false;
  }
  return true;
}

bool Downloader::PieceTry::flush() {
  transfer_.partial.append(index_, buffer_);
  const std::lock_guard lock(transfer_.mutex);
  if (options_.observe) options_.observe(transfer_.file.path, transfer_.partial.done_bytes(), transfer_.file.size);
  buffer_.clear();
  return !transfer_.stop;
}

// Asks until the piece is there, the transfer is stopped, or too many tries in a row brought nothing.
void Downloader::fetch_piece(Transfer& transfer, HttpConnection& connection, size_t index) {
  const FilePiece& piece = transfer.partial.pieces()[index];
  std::chrono::milliseconds pause = options_.first_pause;
  int64_t done_before = piece.done;
  std::string buffer;
  buffer.reserve(kBufferBytes);
  for (int attempt = 1; !piece.is_complete();) {
    Url url = transfer.url;
    {
      const std::lock_guard lock(transfer.mutex);
      if (transfer.stop) return;
      if (transfer.resolved) url = *transfer.resolved;
    }
    PieceTry piece_try(transfer, options_, index, buffer);
    const HttpResult result = piece_try.ask(connection, url);
    if (piece.is_complete() || transfer.stopped()) return;
    if (result.end == HttpEnd::untrusted) throw untrusted(url, result);
    if (result.end == HttpEnd::bad_redirect) throw bad_redirect(transfer.id, result);
    if (piece_try.expired()) {
      const std::lock_guard lock(transfer.mutex);
      transfer.resolved.reset();
    }

    if (piece.done - done_before >= kRealProgress) {
      attempt = 1;
      pause = options_.first_pause;
    } else if (++attempt > options_.tries) {
      std::string reason = result.reason;
      if (result.head.status >= 300) reason = fmt::format("status {}", result.head.status);
      else if (reason.empty()) reason = "it ended early";
      throw world_error(
          transfer.id.text(),
          fmt::format("{} did not arrive whole from {}: {}", transfer.file.path, url.host(), reason),
          fmt::format("run again: it goes on from {} bytes", format_thousands(transfer.partial.done_bytes())));
    }
    done_before = piece.done;
    const auto wait = std::max<std::chrono::milliseconds>(pause, std::chrono::seconds(result.head.retry_after_seconds));
    std::unique_lock lock(transfer.mutex);
    transfer.wake.wait_for(lock, wait, [&] { return transfer.stop; });
    pause *= 2;
  }
}

// Every connection takes the next piece when it is free. The first failure stops all; it is thrown when they are back.
void Downloader::run_transfer(Transfer& transfer) {
  const size_t pieces = transfer.partial.pieces().size();
  const size_t threads = std::min<size_t>(static_cast<size_t>(options_.connections), pieces);
  const auto work = [&](size_t index) {
    try {
      while (true) {
        size_t piece = 0;
        {
          const std::lock_guard lock(transfer.mutex);
          if (transfer.stop || transfer.next_piece >= pieces) return;
          piece = transfer.next_piece++;
        }
        fetch_piece(transfer, *connections_[index], piece);
      }
    } catch (...) {
      transfer.fail(std::current_exception());
    }
  };
  for (size_t i = 0; i < threads; ++i) connection(i);
  std::vector<std::thread> workers;
  try {
    for (size_t i = 1; i < threads; ++i) workers.emplace_back(work, i);
  } catch (const std::system_error&) {  // no more threads to be had: fewer do
  }
  if (threads > 0) work(0);
  for (std::thread& worker : workers) worker.join();
  if (transfer.error) std::rethrow_exception(transfer.error);
}

void Downloader::download(const HubFile& file, const HubId& id, const std::string& commit,
                          const std::string& repo_folder) {
  namespace fs = std::filesystem;
  const std::string blob = repo_folder + "/blobs/" + file.hash;
  const auto is_there = [&] {
    std::error_code error;
    return fs::file_size(blob, error) == static_cast<uintmax_t>(file.size) && !error;
  };
  if (is_there()) return;
  fs::create_directories(repo_folder + "/blobs");
  const BlobLock lock(repo_folder, file.hash, file.path);
  if (is_there()) return;  // another process was faster

  const Url url{
      options_.http.endpoint.origin,
      fmt::format("{}/{}/resolve/{}/{}", options_.http.endpoint.path == "/" ? "" : options_.http.endpoint.path, id.repo,
                  commit, escape_path(file.path, true))};
  Transfer transfer(file, id, url, blob + ".plimsoll.incomplete", options_.piece_bytes);
  if (options_.observe) options_.observe(file.path, transfer.partial.done_bytes(), file.size);
  run_transfer(transfer);
  for (int attempt = 1; transfer.ranges_ignored; ++attempt) {
    if (attempt > options_.tries)
      throw world_error(id.text(),
                        fmt::format("{} did not arrive whole, and {} cannot go on in the middle of a file", file.path,
                                    options_.http.endpoint.host()),
                        "run again, at a better time; it begins anew");
    transfer.partial.restart(std::max<int64_t>(file.size, 1));  // one piece: the whole file, asked for without a range
    transfer.ranges_ignored = transfer.stop = false;
    transfer.next_piece = 0;
    transfer.resolved.reset();
    run_transfer(transfer);
  }
  transfer.partial.finish(blob);
}

}  // namespace plimsoll
