#include "base/shape.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "base/error.h"

namespace plimsoll {
namespace {

TEST(Shape, CountsElementsAndPrints) {
  const Shape shape = {2, 24, 48};
  EXPECT_EQ(shape.rank(), 3);
  EXPECT_EQ(shape.elements(), 2 * 24 * 48);
  EXPECT_EQ(to_string(shape), "(2, 24, 48)");
  EXPECT_EQ(std::vector<int64_t>(shape.dims().begin(), shape.dims().end()), (std::vector<int64_t>{2, 24, 48}));
}

TEST(Shape, AScalarHasOneElement) {
  const Shape scalar;
  EXPECT_EQ(scalar.rank(), 0);
  EXPECT_EQ(scalar.elements(), 1);
  EXPECT_EQ(to_string(scalar), "()");
}

TEST(Shape, NothingTimesAnythingIsNothing) {
  constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();
  EXPECT_EQ((Shape{kHuge, kHuge, 0}).elements(), 0);
  EXPECT_THROW((void)(Shape{kHuge, kHuge, 1}).elements(), Error);
}

TEST(Shape, NegativeAxesCountFromTheEnd) {
  const Shape shape = {5, 7, 11};
  EXPECT_EQ(shape[0], 5);
  EXPECT_EQ(shape[-1], 11);
  EXPECT_EQ(shape[-3], 5);
}

TEST(Shape, ComparesRankAndDimensions) {
  EXPECT_EQ((Shape{2, 3}), (Shape{2, 3}));
  EXPECT_NE((Shape{2, 3}), (Shape{3, 2}));
  EXPECT_NE((Shape{2}), (Shape{2, 0}));  // unused dimensions are 0, rank tells them apart
  EXPECT_NE((Shape{}), (Shape{1}));
}

TEST(Shape, HoldsAtMostSixDimensions) {
  EXPECT_EQ((Shape{1, 2, 3, 4, 5, 6}).elements(), 720);
  EXPECT_THROW((Shape{1, 2, 3, 4, 5, 6, 7}), Error);
}

TEST(Shape, RefusesNegativeDimensionsAndOverflow) {
  EXPECT_THROW((Shape{2, -1}), Error);
  const int64_t large = int64_t{1} << 32;
  EXPECT_THROW((Shape{large, large}).elements(), Error);
  EXPECT_EQ((Shape{std::numeric_limits<int64_t>::max()}).elements(), std::numeric_limits<int64_t>::max());
  EXPECT_EQ((Shape{large, 0}).elements(), 0);
}

}  // namespace
}  // namespace plimsoll
