#include "hub/transport/digest.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>

#include "base/error.h"

namespace plimsoll {
namespace {

EVP_MD_CTX* context_of(void* context) { return static_cast<EVP_MD_CTX*>(context); }

void check(int result) {
  if (result != 1) throw world_error("OpenSSL", "cannot compute a hash", "check its configuration (openssl.cnf)");
}

}  // namespace

Digest::Digest(bool sha256, int64_t size) : context_(EVP_MD_CTX_new()) {
  PLIMSOLL_CHECK(context_ != nullptr, "no digest context");
  const char* name = sha256 ? "SHA256" : "SHA1";
  const EVP_MD* kind = EVP_get_digestbyname(name);
  if (kind == nullptr || EVP_DigestInit_ex(context_of(context_), kind, nullptr) != 1) {
    EVP_MD_CTX_free(context_of(context_));
    throw world_error("OpenSSL", fmt::format("has no {}", name), "check its configuration (openssl.cnf)");
  }
  if (sha256) return;
  const std::string header = fmt::format("blob {}", size);
  EVP_DigestUpdate(context_of(context_), header.c_str(), header.size() + 1);  // with the zero byte
}
Digest::~Digest() { EVP_MD_CTX_free(context_of(context_)); }

void Digest::add(std::string_view bytes) { check(EVP_DigestUpdate(context_of(context_), bytes.data(), bytes.size())); }

std::string Digest::hexadecimal() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> value{};
  unsigned size = 0;
  check(EVP_DigestFinal_ex(context_of(context_), value.data(), &size));
  std::string text;
  for (unsigned i = 0; i < size; ++i) text += fmt::format("{:02x}", value[i]);
  return text;
}

}  // namespace plimsoll
