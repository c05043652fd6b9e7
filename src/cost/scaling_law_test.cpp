#include "cost/scaling_law.h"

#include <gtest/gtest.h>

#include <cmath>

namespace plimsoll {
namespace {

TEST(ScalingLaw, NoOtherSizeOfTheSameFlopsHasALowerLoss) {
  for (const LossFit& fit : kLossFits)
    for (const double flops : {1e19, 1e22, 1e25}) {
      const TrainingSize best = compute_optimal(fit, flops);
      EXPECT_NEAR(6 * best.parameters * best.tokens / flops, 1, 1e-12);
      for (const double factor : {0.5, 0.9, 1.1, 2.0})
        EXPECT_GT(predicted_loss(fit, best.parameters * factor, best.tokens / factor), best.loss) << fit.name;
    }
}

TEST(ScalingLaw, AboutTwentyTokensAParameter) {
  // Chinchilla's budget, 5.76e23 flops: 70B parameters and 1.4T tokens (arXiv:2203.15556); the corrected fit agrees.
  const TrainingSize best = compute_optimal(kLossFits[0], 5.76e23);
  EXPECT_NEAR(best.parameters, 70e9, 15e9);
  EXPECT_NEAR(best.tokens / best.parameters, 20, 6);
}

TEST(ScalingLaw, ASmallerModelPaysWhenItIsServedEnough) {
  const TrainingSize best = compute_optimal(kLossFits[0], 1e23);
  const TrainingSize half = over_trained(kLossFits[0], best, best.parameters / 2);
  EXPECT_GT(half.tokens, 2 * best.tokens);
  EXPECT_NEAR(predicted_loss(kLossFits[0], half.parameters, half.tokens), best.loss, 1e-9);
  const double tokens = break_even_tokens(best, half);
  EXPECT_NEAR(best.flops + 2 * best.parameters * tokens, half.flops + 2 * half.parameters * tokens, 1e-9 * half.flops);
  EXPECT_TRUE(std::isinf(over_trained(kLossFits[0], best, best.parameters / 100).tokens));
}

}  // namespace
}  // namespace plimsoll
