// One file from the hub into the cache's blobs: in parallel pieces, each going on after a cut, checked at the end.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hub/hub_id.h"
#include "hub/hub_listing.h"
#include "hub/transport/http_connection.h"

namespace plimsoll {

// `done` of `total` bytes of `path` are there. Called from any thread, one at a time; must not throw.
using DownloadObserver = std::function<void(const std::string& path, int64_t done, int64_t total)>;

struct DownloadOptions {
  HttpOptions http;
  std::chrono::milliseconds answer_timeout{10000};  // of silence of a hub that is asked what it has
  int64_t piece_bytes = int64_t{64} << 20;
  int connections = 4;
  int tries = 6;                               // without any progress
  std::chrono::milliseconds first_pause{500};  // before the second try; doubles
  DownloadObserver observe;                    // may be empty
};

class Downloader {
 public:
  explicit Downloader(DownloadOptions options);
  ~Downloader();
  Downloader(const Downloader&) = delete;
  Downloader& operator=(const Downloader&) = delete;

  // A small answer as a whole. Errors as for download; longer than `limit_bytes`: a world Error.
  std::string get_text(const Url& url, const HubId& id, int64_t limit_bytes);

  // Fetches `file` of `id` at `commit` into `repo_folder`/blobs/HASH. Waits while another process fetches it. A blob of
  // the right size that is there is left as it is. Memory: a buffer a connection. A lost connection after all tries, a
  // wrong size or hash, a full disk: world Errors; a missing repository or right to read it: caller Errors.
  void download(const HubFile& file, const HubId& id, const std::string& commit, const std::string& repo_folder);

 private:
  struct Transfer;
  class PieceTry;
  void run_transfer(Transfer& transfer);
  void fetch_piece(Transfer& transfer, HttpConnection& connection, size_t piece);
  HttpConnection& connection(size_t index);

  DownloadOptions options_;
  std::vector<std::unique_ptr<HttpConnection>> connections_;
  std::unique_ptr<HttpConnection> questions_;
};

}  // namespace plimsoll
