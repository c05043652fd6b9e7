// The bytes of a data file as it means them: plain, gzip (RFC 1952) or Zstandard (RFC 8878), told apart by their first
// bytes. Everything goes through buffers of fixed size; the window of a Zstandard frame is at most 128 MiB, and a file
// that unpacks to more than 256 MiB and 5,000 times its size is refused.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "formats/tensor_index.h"

namespace plimsoll {

enum class Compression { none, gzip, zstd };

const char* name_of(Compression compression);  // "", "gzip", "zstd"

class Unpacker;

// Forward only; one thread. Missing files are caller Errors, as are damaged ones; failing reads are world Errors.
class ByteSource {
 public:
  explicit ByteSource(const std::string& path);
  ~ByteSource();
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;

  size_t read(std::span<char> out);  // as much as there is, up to out.size(); 0 only at the end

  const std::string& path() const { return file_.path(); }
  Compression compression() const { return compression_; }
  int64_t buffer_bytes() const;  // held now

 private:
  bool refill();  // more of the file into packed_; false at its end
  [[noreturn]] void fail_damaged(const std::string& what) const;

  InputFile file_;
  Compression compression_ = Compression::none;
  std::unique_ptr<Unpacker> unpacker_;  // none for plain files
  std::vector<char> packed_;            // of a packed file, what was read and is not unpacked: [begin_, end_)
  size_t begin_ = 0, end_ = 0;
  int64_t offset_ = 0;    // in the file, of what comes next
  int64_t unpacked_ = 0;  // bytes given
  bool finished_ = false;
};

}  // namespace plimsoll
