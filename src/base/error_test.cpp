#include "base/error.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>

namespace plimsoll {
namespace {

TEST(Error, CarriesTheThingTheProblemAndTheWayOut) {
  const Error error = caller_error("model.safetensors", "header is 12 bytes, file has 8", "download the file again");
  EXPECT_EQ(error.kind(), ErrorKind::caller);
  EXPECT_EQ(error.thing(), "model.safetensors");
  EXPECT_EQ(error.problem(), "header is 12 bytes, file has 8");
  EXPECT_EQ(error.way_out(), "download the file again");
  EXPECT_STREQ(error.what(), "model.safetensors: header is 12 bytes, file has 8");
}

TEST(Error, WorldErrorsAddTheSystemsWords) {
  const Error with_words = world_error("/data", "cannot write", "free some space", ENOSPC);
  EXPECT_EQ(with_words.kind(), ErrorKind::world);
  EXPECT_EQ(with_words.problem(), std::string("cannot write: ") + std::strerror(ENOSPC));
  EXPECT_EQ(world_error("/data", "cannot write", "free some space").problem(), "cannot write");
}

TEST(Error, KindsAreTheExitCodesOfTheContract) {
  EXPECT_EQ(static_cast<int>(ErrorKind::internal), 1);
  EXPECT_EQ(static_cast<int>(ErrorKind::caller), 2);
  EXPECT_EQ(static_cast<int>(ErrorKind::does_not_fit), 3);
  EXPECT_EQ(static_cast<int>(ErrorKind::world), 4);
}

TEST(Error, ABrokenInvariantNamesItsPlaceAndCondition) {
  const int two = 2;
  EXPECT_NO_THROW(PLIMSOLL_CHECK(two == 2, "never"));
  try {
    PLIMSOLL_CHECK(two == 3, "two is " + std::to_string(two));
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::internal);
    EXPECT_EQ(error.thing().substr(0, 15), "error_test.cpp:");  // the file without its folders
    EXPECT_EQ(error.problem(), "two == 3 does not hold: two is 2");
    EXPECT_FALSE(error.way_out().empty());
  }
}

}  // namespace
}  // namespace plimsoll
