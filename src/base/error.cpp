#include "base/error.h"

#include <cstring>
#include <utility>

namespace plimsoll {

Error::Error(ErrorKind kind, std::string thing, std::string problem, std::string way_out)
    : std::runtime_error(thing + ": " + problem),
      kind_(kind),
      thing_(std::move(thing)),
      problem_(std::move(problem)),
      way_out_(std::move(way_out)) {}

Error caller_error(std::string thing, std::string problem, std::string way_out) {
  return {ErrorKind::caller, std::move(thing), std::move(problem), std::move(way_out)};
}

Error world_error(std::string thing, std::string problem, std::string way_out, int errno_value) {
  if (errno_value != 0) problem += std::string(": ") + std::strerror(errno_value);
  return {ErrorKind::world, std::move(thing), std::move(problem), std::move(way_out)};
}

namespace detail {

void check_failed(const char* condition, const char* file, int line, const std::string& message) {
  const char* slash = std::strrchr(file, '/');
  throw Error(ErrorKind::internal, std::string(slash != nullptr ? slash + 1 : file) + ":" + std::to_string(line),
              std::string(condition) + " does not hold: " + message,
              "please report this line, it is a bug in Plimsoll");
}

}  // namespace detail
}  // namespace plimsoll
