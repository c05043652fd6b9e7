#include "runtime/weight_stream.h"

#include <fcntl.h>
#include <liburing.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <unordered_map>

#include "base/bytes.h"
#include "base/error.h"
#include "base/log.h"
#include "memory/storage.h"

namespace plimsoll {
namespace {

constexpr int64_t kPiece = int64_t{1} << 20;  // of one transfer: several are under way at once

struct Place {
  int64_t offset = 0, bytes = 0;  // bytes: a multiple of kDiskAlignment
};

struct Transfer {
  int64_t offset = 0, bytes = 0;
  std::byte* place = nullptr;
  bool is_write = false;
};

void prepare_read(io_uring_sqe* entry, int fd, const Transfer& t) {
  io_uring_prep_read(entry, fd, t.place, static_cast<unsigned>(t.bytes), static_cast<uint64_t>(t.offset));
}
void prepare_write(io_uring_sqe* entry, int fd, const Transfer& t) {
  io_uring_prep_write(entry, fd, t.place, static_cast<unsigned>(t.bytes), static_cast<uint64_t>(t.offset));
}

}  // namespace

struct WeightStream::State {
  std::string path;
  std::unordered_map<std::string, Place> places;
  int64_t file_bytes = 0, bytes_read = 0, bytes_written = 0;
  double seconds_waited = 0;
  int write_fd = -1, direct_fd = -1;
  bool has_ring = false;
  io_uring ring{};
  std::unordered_map<const std::byte*, int64_t> pending;  // place → transfers that have not ended
  struct Slot {
    Transfer transfer;
    const std::byte* target = nullptr;
  };
  std::vector<Slot> slots;     // by number in the ring
  std::vector<uint64_t> free;  // numbers

  [[noreturn]] void fail(const char* what, int reason) const {
    throw world_error(path, what, "check the disk that holds it, and its free space", reason);
  }

  void submit(const Transfer& transfer, const std::byte* target) {
    while (free.empty()) reap();
    const uint64_t number = free.back();
    free.pop_back();
    slots[number] = {transfer, target};
    io_uring_sqe* entry = io_uring_get_sqe(&ring);
    if (entry == nullptr) {
      io_uring_submit(&ring);
      entry = io_uring_get_sqe(&ring);
    }
    PLIMSOLL_CHECK(entry != nullptr, "the ring has room for every slot");
    (transfer.is_write ? prepare_write : prepare_read)(entry, direct_fd, transfer);
    io_uring_sqe_set_data64(entry, number);
  }

  // Begins to read a tensor into `place`, or to write it from there.
  void begin(const std::string& tensor, std::byte* place, bool is_write);

  // Waits for one transfer to end.
  void reap() {
    io_uring_cqe* done = nullptr;
    // A signal may end a call before it has submitted anything: what is left goes along with the next wait.
    while (io_uring_peek_cqe(&ring, &done) != 0) {
      const int status = io_uring_submit_and_wait(&ring, 1);
      if (status < 0 && status != -EINTR && status != -EAGAIN && status != -EBUSY)
        fail("cannot be read or written", -status);
    }
    const uint64_t number = io_uring_cqe_get_data64(done);
    const int64_t got = done->res;
    io_uring_cqe_seen(&ring, done);
    const Slot slot = slots[number];
    free.push_back(number);
    const Transfer& t = slot.transfer;
    if (got == -EINTR || got == -EAGAIN) return submit(t, slot.target);
    if (got < 0) fail(t.is_write ? "cannot be written" : "cannot be read", static_cast<int>(-got));
    if (got == 0) fail(t.is_write ? "takes no more" : "is shorter than it was written", 0);
    (t.is_write ? bytes_written : bytes_read) += got;
    if (got < t.bytes) return submit({t.offset + got, t.bytes - got, t.place + got, t.is_write}, slot.target);
    --pending.at(slot.target);
  }
};

WeightStream::WeightStream(const std::string& path, const std::vector<Tensor>& tensors)
    : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.path = path;
  for (const Tensor& tensor : tensors) {
    const int64_t bytes = round_up(tensor.bytes, kDiskAlignment);
    s.places[tensor.name] = {s.file_bytes, bytes};
    s.file_bytes += bytes;
  }
  s.write_fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (s.write_fd < 0) s.fail("cannot be made", errno);
  if (const int status = ::posix_fallocate(s.write_fd, 0, s.file_bytes); status != 0) {
    ::unlink(path.c_str());
    s.fail(("has no room for " + format_bytes(s.file_bytes) + " of streamed tensors").c_str(), status);
  }
  s.direct_fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_DIRECT);
  if (s.direct_fd < 0) {
    log_note(path + ": this file system has no direct reads; what is streamed goes through the system's cache");
    s.direct_fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (s.direct_fd < 0) s.fail("cannot be opened", errno);
  }
  s.has_ring = io_uring_queue_init(kMostTransfers, &s.ring, 0) == 0;
  if (!s.has_ring) log_note("this system has no io_uring; what is streamed is read while nothing computes");
  s.slots.resize(kMostTransfers);
  for (uint64_t i = kMostTransfers; i-- > 0;) s.free.push_back(i);
  // Open, it lives on without a name: whatever ends the run, nothing is left behind.
  ::unlink(path.c_str());
}

WeightStream::~WeightStream() {
  State& s = *state_;
  if (s.has_ring) {
    // Transfers that are under way use memory that the caller may free next.
    try {
      while (s.free.size() < s.slots.size()) s.reap();
    } catch (const Error&) {
    }
    io_uring_queue_exit(&s.ring);
  }
  if (s.direct_fd >= 0) ::close(s.direct_fd);
  if (s.write_fd >= 0) ::close(s.write_fd);
}

void WeightStream::write(const std::string& tensor, std::span<const std::byte> data) {
  State& s = *state_;
  const Place place = s.places.at(tensor);
  PLIMSOLL_CHECK(round_up(static_cast<int64_t>(data.size()), kDiskAlignment) == place.bytes, "the tensor's bytes");
  int64_t at = place.offset;
  for (std::span<const std::byte> left = data; !left.empty();) {
    const ssize_t done = ::pwrite(s.write_fd, left.data(), left.size(), at);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) s.fail("cannot be written", errno);
    at += done;
    left = left.subspan(static_cast<size_t>(done));
  }
  // What was written must not stay in the system's cache: on disk it is needed, here it takes memory.
  ::sync_file_range(s.write_fd, place.offset, place.bytes,
                    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
  ::posix_fadvise(s.write_fd, place.offset, place.bytes, POSIX_FADV_DONTNEED);
}

void WeightStream::State::begin(const std::string& tensor, std::byte* place, bool is_write) {
  const Place file = places.at(tensor);
  PLIMSOLL_CHECK(reinterpret_cast<uintptr_t>(place) % kDiskAlignment == 0, "direct transfers need aligned memory");
  if (!has_ring) {
    for (int64_t done = 0; done < file.bytes;) {
      const auto left = static_cast<size_t>(file.bytes - done);
      const ssize_t got = is_write ? ::pwrite(direct_fd, place + done, left, file.offset + done)
                                   : ::pread(direct_fd, place + done, left, file.offset + done);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) fail(is_write ? "cannot be written" : "cannot be read", got < 0 ? errno : 0);
      done += got;
      (is_write ? bytes_written : bytes_read) += got;
    }
    return;
  }
  int64_t& left = pending[place];
  PLIMSOLL_CHECK(left == 0, "two transfers of one place");
  left = ceil_div(file.bytes, kPiece);
  for (int64_t at = 0; at < file.bytes; at += kPiece)
    submit({file.offset + at, std::min(kPiece, file.bytes - at), place + at, is_write}, place);
  io_uring_submit(&ring);
}

void WeightStream::prefetch(const std::string& tensor, std::byte* out) { state_->begin(tensor, out, false); }
void WeightStream::offload(const std::string& tensor, const std::byte* data) {
  state_->begin(tensor, const_cast<std::byte*>(data), true);
}

void WeightStream::await(const std::byte* place) {
  State& s = *state_;
  if (!s.has_ring) return;
  const auto start = std::chrono::steady_clock::now();
  const auto found = s.pending.find(place);
  PLIMSOLL_CHECK(found != s.pending.end(), "nothing is on its way there");
  while (found->second > 0) s.reap();
  s.seconds_waited += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int64_t WeightStream::file_bytes() const { return state_->file_bytes; }
int64_t WeightStream::bytes_read() const { return state_->bytes_read; }
int64_t WeightStream::bytes_written() const { return state_->bytes_written; }
double WeightStream::seconds_waited() const { return state_->seconds_waited; }

}  // namespace plimsoll
