#include "hub/transport/digest.h"

#include <gtest/gtest.h>

#include "support/hub_server.h"

namespace plimsoll {
namespace {

TEST(Digest, KnownValues) {
  EXPECT_EQ(digest_of("abc", true), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(digest_of("hello\n", false), "ce013625030ba8dba906f756967f9e9ca394464a");  // git hash-object
}

}  // namespace
}  // namespace plimsoll
