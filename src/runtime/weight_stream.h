// The file of streamed weights: written once, then read straight from disk into the arena while ops compute, by
// io_uring (man 7 io_uring) and without the system's cache, which would count as memory that nobody planned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace plimsoll {

class WeightStream {
 public:
  struct Tensor {
    std::string name;
    int64_t bytes = 0;
  };

  // Makes `path` (replacing a file there) with room for the tensors; the file is gone when the stream is. A world Error
  // when the disk is too full. Where the system has no io_uring or the file system no direct reads, reads go on
  // without, and a note says so.
  WeightStream(const std::string& path, const std::vector<Tensor>& tensors);
  ~WeightStream();
  WeightStream(const WeightStream&) = delete;
  WeightStream& operator=(const WeightStream&) = delete;

  // One thread. `data` is the tensor; any alignment.
  void write(const std::string& tensor, std::span<const std::byte> data);
  // Begins to read a tensor into `out`, which is aligned to 4096 and has room for a multiple of it. At most
  // kMostReads at a time.
  void prefetch(const std::string& tensor, std::byte* out);
  // Ends when the read into `out` has ended. A failed read is a world Error.
  void await(const std::byte* out);

  int64_t file_bytes() const;
  // Read so far, and the seconds that await has waited for it.
  int64_t bytes_read() const;
  double seconds_waited() const;

  static constexpr unsigned kMostReads = 1024;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Bytes on disk of `tensors`.
int64_t stream_file_bytes(const std::vector<WeightStream::Tensor>& tensors);

}  // namespace plimsoll
