// The two kinds of failure a user can meet, and the one that is our bug.
//
//   throw caller_error("model.safetensors", "header is 12 bytes, file has 8", "download the file again");
//
// prints as
//   plimsoll: error: model.safetensors: header is 12 bytes, file has 8
//     try: download the file again
//
// Never throw from callbacks, destructors or worker threads: record, and rethrow at the next join.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace plimsoll {

// Values are the process exit codes of the command line contract.
enum class ErrorKind : int {
  internal = 1,      // our bug
  caller = 2,        // bad flag, bad file, unknown architecture
  does_not_fit = 3,  // the plan is larger than the budget
  world = 4,         // disk full, file unreadable, connection lost
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, std::string thing, std::string problem, std::string way_out);

  ErrorKind kind() const { return kind_; }
  const std::string& thing() const { return thing_; }      // file, flag, tensor: what the error is about
  const std::string& problem() const { return problem_; }  // what is wrong, with which value
  const std::string& way_out() const { return way_out_; }  // what the user can do

 private:
  ErrorKind kind_;
  std::string thing_, problem_, way_out_;
};

Error caller_error(std::string thing, std::string problem, std::string way_out);
// `errno_value` 0 leaves the system's own words out.
Error world_error(std::string thing, std::string problem, std::string way_out, int errno_value = 0);

namespace detail {
[[noreturn]] void check_failed(const char* condition, const char* file, int line, const std::string& message);
}  // namespace detail

}  // namespace plimsoll

// Our own broken invariant: throws an internal Error naming the place. Never for a user's mistake.
#define PLIMSOLL_CHECK(condition, message)                                                       \
  do {                                                                                           \
    if (!(condition)) ::plimsoll::detail::check_failed(#condition, __FILE__, __LINE__, message); \
  } while (false)
