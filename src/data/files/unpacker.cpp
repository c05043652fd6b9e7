#include "data/files/unpacker.h"

#include <zlib.h>
#include <zstd.h>

#include <new>

#include "base/error.h"

namespace plimsoll {
namespace {

constexpr int kGzipOnly = 16 + MAX_WBITS;
constexpr int64_t kInflateBytes = 48 << 10;  // zlib's own statement of what inflate takes: 32 KiB of window and about 7
constexpr int kMaxWindowLog = 27;            // 128 MiB: what zstd itself reads without --long

class GzipUnpacker final : public Unpacker {
 public:
  GzipUnpacker() {
    if (inflateInit2(&stream_, kGzipOnly) != Z_OK) throw std::bad_alloc();
  }
  ~GzipUnpacker() override { inflateEnd(&stream_); }

  Step unpack(std::span<const char> in, std::span<char> out) override {
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
    stream_.avail_in = static_cast<uInt>(in.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    const int result = inflate(&stream_, Z_NO_FLUSH);
    Step step;
    step.taken = in.size() - stream_.avail_in;
    step.given = out.size() - stream_.avail_out;
    if (result == Z_MEM_ERROR) throw std::bad_alloc();
    if (result == Z_STREAM_END) {
      step.state = State::end_of_frame;
      inflateReset(&stream_);
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      step.state = State::damaged;
      step.problem = stream_.msg != nullptr ? stream_.msg : "no gzip data";
    }
    return step;
  }
  int64_t bytes() const override { return kInflateBytes; }

 private:
  z_stream stream_{};
};

class ZstdUnpacker final : public Unpacker {
 public:
  ZstdUnpacker() : context_(ZSTD_createDCtx()) {
    if (context_ == nullptr) throw std::bad_alloc();
    ZSTD_DCtx_setParameter(context_, ZSTD_d_windowLogMax, kMaxWindowLog);
  }
  ~ZstdUnpacker() override { ZSTD_freeDCtx(context_); }

  Step unpack(std::span<const char> in, std::span<char> out) override {
    ZSTD_inBuffer input{in.data(), in.size(), 0};
    ZSTD_outBuffer output{out.data(), out.size(), 0};
    const size_t result = ZSTD_decompressStream(context_, &output, &input);
    Step step;
    step.taken = input.pos;
    step.given = output.pos;
    if (ZSTD_isError(result) != 0U) {
      step.state = State::damaged;
      step.problem = ZSTD_getErrorName(result);
    } else if (result == 0) {
      step.state = State::end_of_frame;
    }
    return step;
  }
  int64_t bytes() const override { return static_cast<int64_t>(ZSTD_sizeof_DCtx(context_)); }

 private:
  ZSTD_DCtx* context_;
};

}  // namespace

std::unique_ptr<Unpacker> make_gzip_unpacker() { return std::make_unique<GzipUnpacker>(); }
std::unique_ptr<Unpacker> make_zstd_unpacker() { return std::make_unique<ZstdUnpacker>(); }

}  // namespace plimsoll
