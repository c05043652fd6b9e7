#include "config/model_catalog.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "config/json_fields.h"

namespace plimsoll {
namespace {

TEST(ModelCatalog, HasEveryNameOnceAndInOrder) {
  const auto models = catalog_models();
  EXPECT_EQ(models.size(), 90U);
  EXPECT_TRUE(
      std::is_sorted(models.begin(), models.end(), [](const auto& a, const auto& b) { return a.name < b.name; }));
  for (const CatalogModel& model : models) {
    EXPECT_EQ(find_catalog_model(model.name), &model) << model.name;  // no two names are one when spelt loosely
    EXPECT_TRUE(parse_json_object(model.config, model.name).contains("model_type")) << model.name;
  }
}

TEST(ModelCatalog, ForgivesSpelling) {
  const auto name_of = [](std::string_view name) {
    const CatalogModel* model = find_catalog_model(name);
    return model != nullptr ? model->name : "";
  };
  EXPECT_EQ(name_of("gpt-3-175b"), "gpt3-175b");
  EXPECT_EQ(name_of("GPT3_175B"), "gpt3-175b");
  EXPECT_EQ(name_of("Llama3.1-405B"), "llama-3.1-405b");
  EXPECT_EQ(name_of("opt-13b"), "opt-13b");
  EXPECT_EQ(name_of("opt-1.3b"), "opt-1.3b");
  EXPECT_EQ(name_of("llama-27b"), "");  // not llama-2-7b
  EXPECT_EQ(name_of(""), "");
  EXPECT_EQ(name_of(std::string(1 << 20, 'x')), "");
}

TEST(ModelCatalog, NamesWhatIsNear) {
  EXPECT_EQ(near_catalog_names("lama-3.1-405b", 3).front(), "llama-3.1-405b");
  EXPECT_EQ(near_catalog_names("opt-350", 3).front(), "opt-350m");
  const auto family = near_catalog_names("pythia", 20);
  EXPECT_EQ(family.size(), 8U);
  EXPECT_TRUE(near_catalog_names("lama-3", 3).front().starts_with("llama-3"));
  EXPECT_TRUE(near_catalog_names("", 3).empty());
  EXPECT_TRUE(near_catalog_names("zzzzzzzzzz", 3).empty());
  EXPECT_LE(near_catalog_names("llama", 3).size(), 3U);
}

}  // namespace
}  // namespace plimsoll
