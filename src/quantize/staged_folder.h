// A folder that is complete or absent.
#pragma once

#include <optional>
#include <string>

#include "formats/signal_folder.h"

namespace plimsoll {

// Written beside `target` under another name and renamed into place by finish(); removed with all that is in it when
// that does not happen. What killed processes have left of the same target goes first. A caller Error when `target` is
// there already and not an empty folder.
class StagedFolder {
 public:
  explicit StagedFolder(std::string target);
  ~StagedFolder();
  StagedFolder(const StagedFolder&) = delete;
  StagedFolder& operator=(const StagedFolder&) = delete;

  const std::string& path() const { return path_; }  // where to write
  void finish();

 private:
  std::string target_, path_;
  int lock_ = -1;  // held while the folder is written
  std::optional<SignalFolder> signal_;
  bool finished_ = false;
};

// The same rule for a file that is written by formats/output_file.h.
void require_absent(const std::string& target);

}  // namespace plimsoll
