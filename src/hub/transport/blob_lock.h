// One process at a time fetches a blob: the lock file that huggingface_hub takes too,
// .locks/models--org--name/HASH.lock.
#pragma once

#include <string>

namespace plimsoll {

class BlobLock {
 public:
  // Waits for it, with a note about `path`. On a disk without locks it locks nothing. World Errors.
  BlobLock(const std::string& repo_folder, const std::string& hash, const std::string& path);
  ~BlobLock();
  BlobLock(const BlobLock&) = delete;
  BlobLock& operator=(const BlobLock&) = delete;

 private:
  int fd_;
};

}  // namespace plimsoll
