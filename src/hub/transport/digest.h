// Hashes of downloaded contents (OpenSSL): SHA-256, and git's SHA-1 of a blob.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace plimsoll {

class Digest {
 public:
  // SHA-256 of the contents; else git's SHA-1 of a blob, of contents that are `size` bytes long.
  Digest(bool sha256, int64_t size);
  ~Digest();
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;

  void add(std::string_view bytes);
  std::string hexadecimal();  // lower case; ends it

 private:
  void* context_;
};

}  // namespace plimsoll
