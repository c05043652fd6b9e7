// The streaming decoders behind a ByteSource.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace plimsoll {

class Unpacker {
 public:
  enum class State { more, end_of_frame, damaged };
  struct Step {
    State state = State::more;
    size_t taken = 0, given = 0;  // bytes of `in` and `out`
    std::string problem;          // of State::damaged
  };

  virtual ~Unpacker() = default;
  // As far as either side reaches. Behind end_of_frame the next call begins another frame (gzip: member).
  virtual Step unpack(std::span<const char> in, std::span<char> out) = 0;
  virtual int64_t bytes() const = 0;  // held by the decoder now
};

std::unique_ptr<Unpacker> make_gzip_unpacker();
std::unique_ptr<Unpacker> make_zstd_unpacker();

}  // namespace plimsoll
