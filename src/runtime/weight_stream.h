// The file of streamed tensors: weights, written once, and what a step writes and reads again. All but the first
// writing goes straight between disk and arena while ops compute, by io_uring (man 7 io_uring) and without the system's
// cache, which would count as memory that nobody planned.
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
  // Begins to read a tensor into `out`, or to write it from `data`. The place is aligned to 4096 and has room for a
  // multiple of it. A tensor that is written is not read before the write was awaited.
  void prefetch(const std::string& tensor, std::byte* out);
  void offload(const std::string& tensor, const std::byte* data);
  // Ends when the transfer of this place has ended. One that failed is a world Error.
  void await(const std::byte* place);

  int64_t file_bytes() const;
  // Read so far, and the seconds that await has waited for it.
  int64_t bytes_read() const;
  int64_t bytes_written() const;  // by offload
  double seconds_waited() const;

  static constexpr unsigned kMostTransfers = 1024;  // pieces at a time; further ones wait

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace plimsoll
