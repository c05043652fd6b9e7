// A file on its way: its bytes at their places, and behind them how far each piece has come, so that a download that
// was cut off goes on where it was. Its name differs from huggingface_hub's own partial files, which grow at the end
// and would take ours for complete.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hub/hub_listing.h"

namespace plimsoll {

struct FilePiece {
  int64_t begin = 0, end = 0;  // bytes of the file
  int64_t done = 0;            // of them are there, from begin on

  bool is_complete() const { return begin + done == end; }
};

class PartialFile {
 public:
  // Opens what an earlier try left at `path`, or begins anew when there is nothing or it does not fit. World Errors;
  // one of them when the disk has less room than what is missing.
  PartialFile(std::string path, const HubFile& file, int64_t piece_bytes);
  ~PartialFile();
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  const std::vector<FilePiece>& pieces() const { return pieces_; }
  int64_t done_bytes() const { return done_bytes_; }  // of all pieces, from any thread

  // Appends to a piece; never beyond its end. Threads may write different pieces at the same time.
  void append(size_t piece, std::string_view bytes);
  void restart(int64_t piece_bytes);  // forgets everything

  // Checks the hash of the complete file; a mismatch removes it and is a world Error. Then it is synced and renamed.
  void finish(const std::string& target);

 private:
  void write_at(int64_t offset, std::string_view bytes) const;
  bool load(int64_t piece_bytes);
  void cut(int64_t piece_bytes);

  std::string path_;
  HubFile file_;
  int fd_ = -1;
  std::vector<FilePiece> pieces_;
  std::atomic<int64_t> done_bytes_{0};
};

}  // namespace plimsoll
