#include "data/files/byte_source.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "data/files/unpacker.h"

namespace plimsoll {
namespace {

constexpr size_t kPackedBytes = 64 << 10;
constexpr int64_t kFreeBytes = 256 * kMiB;  // unpacked before the ratio is looked at
constexpr int64_t kMostTimes = 5'000;       // unpacked bytes for one of the file

Compression recognise(const InputFile& file) {
  std::array<std::byte, 4> head{};
  const auto count = static_cast<size_t>(std::min<int64_t>(file.size(), head.size()));
  file.read(0, std::span(head).first(count));
  std::array<unsigned, 4> b{};
  for (size_t i = 0; i < head.size(); ++i) b[i] = std::to_integer<unsigned>(head[i]);
  if (count >= 2 && b[0] == 0x1f && b[1] == 0x8b) return Compression::gzip;
  const bool frame = b[0] == 0x28 && b[1] == 0xb5 && b[2] == 0x2f && b[3] == 0xfd;
  const bool skippable = (b[0] & 0xf0U) == 0x50 && b[1] == 0x2a && b[2] == 0x4d && b[3] == 0x18;
  return count == 4 && (frame || skippable) ? Compression::zstd : Compression::none;
}

}  // namespace

const char* name_of(Compression compression) {
  return compression == Compression::gzip ? "gzip" : compression == Compression::zstd ? "zstd" : "";
}

ByteSource::ByteSource(const std::string& path) : file_(path), compression_(recognise(file_)) {
  if (compression_ == Compression::none) return;
  unpacker_ = compression_ == Compression::gzip ? make_gzip_unpacker() : make_zstd_unpacker();
  packed_.resize(kPackedBytes);
}

ByteSource::~ByteSource() = default;

int64_t ByteSource::buffer_bytes() const {
  return static_cast<int64_t>(packed_.capacity()) + (unpacker_ ? unpacker_->bytes() : 0);
}

bool ByteSource::refill() {
  begin_ = 0;
  end_ = static_cast<size_t>(std::min<int64_t>(static_cast<int64_t>(packed_.size()), file_.size() - offset_));
  file_.read(offset_, std::as_writable_bytes(std::span(packed_)).first(end_));
  offset_ += static_cast<int64_t>(end_);
  return end_ > 0;
}

void ByteSource::fail_damaged(const std::string& what) const {
  throw caller_error(path(), std::string("the ") + name_of(compression_) + " data cannot be unpacked: " + what,
                     what.find("memory") != std::string::npos
                         ? "pack it again with a window of at most 128 MiB (zstd --long=27)"
                         : "download it again, or pack it again");
}

size_t ByteSource::read(std::span<char> out) {
  if (!unpacker_) {
    const auto count = static_cast<size_t>(std::min<int64_t>(static_cast<int64_t>(out.size()), file_.size() - offset_));
    file_.read(offset_, std::as_writable_bytes(out.first(count)));
    offset_ += static_cast<int64_t>(count);
    return count;
  }
  size_t given = 0;
  while (given < out.size() && !finished_) {
    const bool input_ended = begin_ == end_ && !refill();
    const Unpacker::Step step =
        unpacker_->unpack(std::span(packed_).subspan(begin_, end_ - begin_), out.subspan(given));
    begin_ += step.taken;
    given += step.given;
    unpacked_ += static_cast<int64_t>(step.given);
    if (step.state == Unpacker::State::damaged) fail_damaged(one_line(step.problem, 80));
    if (step.state == Unpacker::State::end_of_frame) {
      finished_ = begin_ == end_ && !refill();
    } else if (input_ended && step.given == 0) {
      fail_damaged("the file ends too early");
    }
    if (unpacked_ > kFreeBytes && unpacked_ / kMostTimes > offset_)
      throw caller_error(path(), "unpacks to more than 5,000 times its size",
                         "if that is as it should be, unpack it and give the unpacked file");
  }
  return given;
}

}  // namespace plimsoll
