// The table of `plimsoll fit` beside the plans that it is about.
#include <gtest/gtest.h>

#include <sstream>

#include "base/bytes.h"
#include "base/error.h"
#include "config/recipe/recipe_fields.h"
#include "support/test_files.h"
#include "train/fit_methods.h"
#include "train/trainer.h"

namespace plimsoll {
namespace {

Recipe asked() {
  Recipe recipe;
  recipe.model = golden_path("params/configs/smollm2-135m/config.json");
  recipe.threads = 2;
  recipe.seq_len = 512;
  recipe.memory_bytes = 700 * kMiB;
  recipe.disk_rate = 1'000'000'000;
  return recipe;
}

// As if `flags` were typed behind the recipe's own.
Recipe with_flags(Recipe recipe, const std::string& flags) {
  std::istringstream words(flags);
  std::vector<RecipeFlag> given;
  for (std::string name, value; words >> name >> value;) given.push_back({find_recipe_field(name.substr(2)), {value}});
  apply_recipe_flags(recipe, given);
  validate_recipe(recipe);
  return recipe;
}

TEST(Fit, EachRowIsThePlanOfItsFlags) {
  const FitTable table = fit_methods(asked());
  ASSERT_GE(table.rows.size(), 12U);
  int fitting = 0;
  for (const FitRow& row : table.rows) {
    SCOPED_TRACE(row.name);
    if (!row.problem.empty()) {  // SmolLM2's width is no multiple of 256
      EXPECT_NE(row.problem.find("blocks of 256"), std::string::npos) << row.problem;
      continue;
    }
    const PlanReport plan = plan_training(with_flags(asked(), row.flags), false);
    EXPECT_EQ(row.fits, plan.fits);
    EXPECT_EQ(row.total_bytes, plan.total_bytes());
    EXPECT_EQ(row.smallest_budget_bytes, plan.smallest_budget_bytes);
    fitting += row.fits ? 1 : 0;
    if (row.fits) {
      EXPECT_NEAR(*row.predicted_tokens_per_second, 4 * 512 / plan.predicted_seconds, 1e-6);
    }
  }
  EXPECT_GT(fitting, 0);
  EXPECT_LT(fitting, static_cast<int>(table.rows.size()));
}

TEST(Fit, LongestAndWidestAreTheLastThatFit) {
  const FitTable table = fit_methods(asked());
  for (const FitRow& row : table.rows) {
    if (!row.problem.empty()) continue;
    SCOPED_TRACE(row.name);
    const auto fits = [&](int64_t seq_len, int64_t rows) {
      Recipe recipe = with_flags(asked(), row.flags);
      recipe.seq_len = seq_len;
      recipe.micro_batch = recipe.global_batch = rows;
      return plan_training(recipe, false).fits;
    };
    if (row.longest_seq_len > 0) {
      EXPECT_TRUE(fits(row.longest_seq_len, 1));
    }
    if (!row.longest_is_context) {
      EXPECT_FALSE(fits(row.longest_seq_len + kSeqLenStep, 1));
    }
    if (row.largest_micro_batch > 0) {
      EXPECT_TRUE(fits(512, row.largest_micro_batch));
    }
    if (row.largest_micro_batch < kMostRowsAtOnce) {
      EXPECT_FALSE(fits(512, row.largest_micro_batch + 1));
    }
  }
}

TEST(Fit, NamesTheBestAndTheCheapest) {
  const FitTable table = fit_methods(asked());
  ASSERT_GE(table.best, 0);
  for (int i = 0; i < table.best; ++i) EXPECT_FALSE(table.rows[static_cast<size_t>(i)].fits);
  for (const FitRow& row : table.rows)
    if (row.fits) {
      EXPECT_LE(table.rows[static_cast<size_t>(table.cheapest)].smallest_budget_bytes, row.smallest_budget_bytes);
    }
  Recipe nothing = asked();
  nothing.memory_bytes = kMiB;
  const FitTable none = fit_methods(nothing);
  EXPECT_EQ(none.best, -1);
  for (const FitRow& row : none.rows) EXPECT_EQ(row.longest_seq_len, 0);
}

}  // namespace
}  // namespace plimsoll
