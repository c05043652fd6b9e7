// plimsoll-fetch ID config|text|weights [--quiet]: fetches a model from the hub into the local cache. plimsoll runs it;
// progress goes to stderr, and stdout gets the report that hub/fetch_process.h describes.
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <new>
#include <string>

#include "base/bytes.h"
#include "base/error.h"
#include "base/log.h"
#include "fetch/progress.h"
#include "hub/fetch_process.h"
#include "hub/hub_environment.h"
#include "hub/transport/fetch.h"

namespace plimsoll {
namespace {

constexpr const char* kPartialHelp = "plimsoll runs this program by itself: plimsoll inspect org/name";

// Whatever a server sends, this process stays small: headers, too, which the HTTP library reads without a limit.
void limit_memory() {
  const rlimit limit{static_cast<rlim_t>(768 * kMiB), static_cast<rlim_t>(768 * kMiB)};
  ::setrlimit(RLIMIT_DATA, &limit);
}

std::string run(int argc, char** argv) {
  if (argc < 3 || argc > 4)
    throw caller_error("plimsoll-fetch", "ID and config, text or weights are missing", kPartialHelp);
  const std::optional<HubId> id = parse_hub_id(argv[1]);
  const std::optional<ModelNeed> need = parse_need(argv[2]);
  if (!id || !need) throw caller_error(argv[1], "is no id of the hub, or what is needed of it unknown", kPartialHelp);
  if (argc == 4 && std::string_view(argv[3]) == "--quiet") set_log_level(LogLevel::quiet);
  cli::FetchProgress progress;
  DownloadOptions options = download_options_from_environment();
  options.observe = [&](const std::string& path, int64_t done, int64_t total) { progress.update(path, done, total); };
  return fetch_model(*id, *need, hub_cache_folder(), options);
}

std::string report_of(int argc, char** argv, int& code) {
  const auto failed = [&](ErrorKind kind, const std::string& thing, const std::string& problem,
                          const std::string& way_out) {
    code = static_cast<int>(kind);
    return report_fetch_error(code, thing, problem, way_out);
  };
  try {
    return report_fetched(run(argc, argv));
  } catch (const Error& error) {
    return failed(error.kind(), error.thing(), error.problem(), error.way_out());
  } catch (const std::bad_alloc&) {
    return failed(ErrorKind::world, "plimsoll-fetch", "needs more memory than it may take",
                  "run again; if that does not help, the hub sends something strange");
  } catch (const std::filesystem::filesystem_error& error) {
    return failed(ErrorKind::world, error.path1().string(), error.code().message(),
                  "check the folder and the disk; HF_HUB_CACHE names another");
  } catch (const std::exception& error) {
    return failed(ErrorKind::internal, "plimsoll-fetch", error.what(),
                  "please report this line, it is a bug in Plimsoll");
  }
}

}  // namespace
}  // namespace plimsoll

int main(int argc, char** argv) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);  // nobody waits for a download whose run has ended
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  plimsoll::limit_memory();
  int code = 0;
  const std::string report = plimsoll::report_of(argc, argv, code);
  const size_t written = std::fwrite(report.data(), 1, report.size(), stdout);
  return written == report.size() && std::fflush(stdout) == 0 ? code : 4;
}
