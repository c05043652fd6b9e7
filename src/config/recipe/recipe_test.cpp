#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

#include "base/error.h"
#include "config/recipe/recipe_fields.h"
#include "config/recipe/recipe_toml.h"

namespace plimsoll {
namespace {

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::caller);
    EXPECT_FALSE(error.way_out().empty());
    return error.thing() + ": " + error.problem() + " / " + error.way_out();
  }
  return "no error";
}

std::string toml_error(std::string_view text) {
  return error_of([&] {
    Recipe recipe;
    apply_recipe_toml(recipe, text, "r.toml");
    validate_recipe(recipe);
  });
}

Recipe with_flags(std::vector<std::pair<std::string, std::vector<std::string>>> typed, Recipe recipe = {}) {
  std::vector<RecipeFlag> flags;
  for (auto& [name, texts] : typed) flags.emplace_back(find_recipe_field(name), texts);
  apply_recipe_flags(recipe, flags);
  validate_recipe(recipe);
  return recipe;
}

std::string flag_error(const std::string& name, const std::string& text) {
  return error_of([&] { with_flags({{name, {text}}}); });
}

TEST(Recipe, EveryFieldHasHelpAnExampleAndARoundTrip) {
  for (const RecipeField& field : recipe_fields()) {
    EXPECT_FALSE(field.help.empty()) << field.name;
    Recipe recipe;
    const std::vector<RecipeFlag> flags = {{&field, {std::string(field.example)}}};
    ASSERT_NO_THROW(apply_recipe_flags(recipe, flags)) << field.name;
    EXPECT_NE(recipe, Recipe{}) << field.name << ": the example should differ from the default";
    Recipe again;
    apply_recipe_toml(again, write_recipe_toml(recipe), "written");
    EXPECT_EQ(again, recipe) << field.name;
  }
}

TEST(Recipe, TomlRoundTripsTextAndDoublesExactly) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 300; ++i) {
    Recipe recipe;
    recipe.model = "a \"quoted\"\\ \n\t\x01 path é";
    recipe.data = {"one.jsonl", "two, three.jsonl"};
    recipe.lr = std::ldexp(static_cast<double>(random() >> 11), -static_cast<int>(random() % 120));
    recipe.eps = std::ldexp(static_cast<double>(random() >> 11), -80);
    recipe.beta2 = 1 - std::ldexp(1.0, -static_cast<int>(1 + random() % 50));
    recipe.alpha = static_cast<double>(random() % 100);
    recipe.seed = static_cast<int64_t>(random() >> 1);
    recipe.memory_bytes = static_cast<int64_t>(random() >> 20) + 1;
    if (recipe.lr > 1e6) recipe.lr = 1e-4;
    if (i % 2 == 0) recipe.epochs = 0.1 * i + 0.1;
    else recipe.steps = i;
    recipe.recompute = RecomputeMode::layers;
    recipe.recompute_layers = i;
    Recipe again;
    apply_recipe_toml(again, write_recipe_toml(recipe), "written");
    ASSERT_EQ(again, recipe);
  }
}

TEST(Recipe, WrittenTomlNamesEveryField) {
  const std::string text = write_recipe_toml(Recipe{});
  for (const RecipeField& field : recipe_fields())
    EXPECT_NE(text.find("\n" + recipe_key(field) + " = ") == std::string::npos,
              text.find("\n# " + recipe_key(field) + " is not set") == std::string::npos);
}

TEST(Recipe, TomlErrorsNameTheLine) {
  EXPECT_EQ(toml_error("rank = 8\nseqlen = 3\n"), "r.toml line 2: unknown key 'seqlen' / did you mean seq_len?");
  EXPECT_EQ(toml_error("[rank]\nx = 1\n"),
            "r.toml line 1, rank: is a table, not a whole number / write it like: rank = 8");
  EXPECT_EQ(toml_error("\n\nrank = \"eight\""),
            "r.toml line 3, rank: is text, not a whole number / write it like: rank = 8");
  EXPECT_EQ(toml_error("rank = 8.0"), "r.toml line 1, rank: is a number, not a whole number / write it like: rank = 8");
  EXPECT_EQ(toml_error("rank = 0"), "r.toml line 1, rank: 0 is out of range / give a whole number, 1 to 65,536");
  EXPECT_EQ(toml_error("betas = [0.9]"),
            "r.toml line 1, betas: is a list, not a list of two numbers / write it like: betas = [0.9, 0.999]");
  EXPECT_EQ(toml_error("lr = nan"), "r.toml line 1, lr: nan is out of range / give a number, 0 or more");
  EXPECT_EQ(toml_error("packing = 1"),
            "r.toml line 1, packing: is a whole number, not true or false / write it like: packing = true");
  EXPECT_EQ(toml_error("data = [1]"),
            "r.toml line 1, data: has an entry that is a whole number, not text / write it like: data = [\"a.jsonl\", "
            "\"b.jsonl\"]");
  EXPECT_NE(toml_error("rank = = 3").find("r.toml line 1: "), std::string::npos);
  EXPECT_NE(toml_error("rank = 3\nrank = 4").find("r.toml line 2: "), std::string::npos);
  EXPECT_NE(toml_error(std::string(100000, '[')).find("r.toml line 1: "), std::string::npos);
}

TEST(Recipe, FlagErrorsNameTheFlag) {
  EXPECT_EQ(flag_error("rank", "abc"), "--rank: 'abc' is not a whole number, 1 to 65,536 / for example --rank 8");
  EXPECT_EQ(flag_error("lr", "-1"), "--lr: -1 is out of range / give a number, 0 or more");
  EXPECT_EQ(flag_error("lr", "1e30"), "--lr: 1e+30 is out of range / give at most 1000000");
  EXPECT_EQ(flag_error("betas", "0.9,1"),
            "--betas: 1 is out of range / give two numbers with a comma between, each 0 to below 1");
  EXPECT_EQ(flag_error("betas", "0.9"),
            "--betas: '0.9' is not two numbers with a comma between, each 0 to below 1 / for example --betas 0.9,0.95");
  EXPECT_EQ(flag_error("method", "loraa"),
            "--method: 'loraa' is not full, lora, qlora, dora or qat / for example --method full");
  EXPECT_EQ(flag_error("micro-batch", "fast"),
            "--micro-batch: 'fast' is not auto, or a whole number, 1 or more / for example --micro-batch 4");
  EXPECT_EQ(flag_error("memory", "lots").substr(0, 28), "--memory: 'lots' is not a si");
  EXPECT_EQ(
      flag_error("targets", "q_proj,,v_proj"),
      "targets: 'q_proj,,v_proj' has an empty name / write all-linear, or names with commas between: q_proj,v_proj");
  EXPECT_EQ(flag_error("targets", "").substr(0, 7), "targets");
  EXPECT_EQ(flag_error("targets", "q_proj, v proj").substr(0, 41), "targets: 'q_proj, v proj' has a space in ");
  EXPECT_EQ(flag_error("model", "\xff").substr(0, 7), "--model");
}

TEST(Recipe, FieldsThatDisagree) {
  EXPECT_EQ(toml_error("method = \"full\"\nrank = 8"),
            "rank: 8 given, but --method full trains all weights and no adapter / leave --rank out, or give --method "
            "lora");
  EXPECT_EQ(toml_error("method = \"full\"\ntargets = \"q_proj\"").substr(0, 8), "targets:");
  EXPECT_EQ(toml_error("steps = 3\nepochs = 1"), "steps: 3 given together with epochs 1 / give one of the two");
  EXPECT_EQ(toml_error("micro_batch = 4\nglobal_batch = 6"),
            "global-batch: 6 is not a multiple of micro-batch 4 / give --global-batch 8, or --micro-batch auto");
  EXPECT_EQ(toml_error("method = \"full\"\nadapter = \"x\"").substr(0, 8), "adapter:");
  EXPECT_EQ(toml_error("momentum = 0.9").substr(0, 9), "momentum:");
  EXPECT_EQ(toml_error("eval_every = 5").substr(0, 11), "eval-every:");
  const auto names = [](const std::string& toml, const std::string& field) {
    const std::string error = toml_error(toml);
    EXPECT_TRUE(error.starts_with(field + ": ")) << error;
    EXPECT_NE(error.find(" / "), std::string::npos) << error;
  };
  names("optimizer_state = \"bf16\"\noptimizer = \"adafactor\"", "optimizer-state");
  names("master_weights = \"off\"", "master-weights");
  names("master_weights = \"off\"\nmethod = \"full\"\nprecision = \"fp32\"", "master-weights");
  names("relative_step = \"on\"", "relative-step");
  names("scale_parameter = \"on\"", "scale-parameter");
  names("optimizer = \"adafactor\"\nrelative_step = \"on\"\nwarmup_steps = 3", "relative-step");
  names("optimizer_in_backward = \"on\"\nmicro_batch = 2\nglobal_batch = 8", "optimizer-in-backward");
  names("lora_dropout = 0.1\nmethod = \"dora\"", "lora-dropout");
  names("lora_plus_ratio = 16\nmethod = \"full\"", "lora-plus-ratio");
  EXPECT_EQ(toml_error("optimizer_in_backward = \"on\"\nmicro_batch = 8\nglobal_batch = 8"), "no error");
  EXPECT_EQ(toml_error("micro_batch = 4\nglobal_batch = 8\nsteps = 3\nmomentum = 0.9\noptimizer = \"sgd\""),
            "no error");
}

TEST(Recipe, FlagsGoOverToml) {
  Recipe recipe;
  apply_recipe_toml(recipe, "epochs = 3\nrank = 8\nlr = 1\nmicro_batch = 2\nshuffle = \"off\"", "r.toml");
  EXPECT_EQ(recipe.lr, 1.0);
  EXPECT_FALSE(recipe.shuffle);
  recipe = with_flags(
      {{"steps", {"10"}}, {"rank", {"4"}}, {"micro-batch", {"auto"}}, {"rslora", {}}, {"memory", {"1.5GiB"}}}, recipe);
  EXPECT_EQ(recipe.steps, 10);
  EXPECT_FALSE(recipe.epochs.has_value());  // the flag takes the key's place
  EXPECT_EQ(recipe.rank, 4);
  EXPECT_FALSE(recipe.micro_batch.has_value());
  EXPECT_TRUE(recipe.rslora);
  EXPECT_EQ(recipe.memory_bytes, int64_t{1536} << 20);
  EXPECT_NE(error_of([] { with_flags({{"steps", {"10"}}, {"epochs", {"1"}}}); }), "no error");
}

TEST(Recipe, FilesThatCannotBeRead) {
  EXPECT_NE(error_of([] { read_recipe_file("no/such/recipe.toml"); }).find("there is no such file"), std::string::npos);
  EXPECT_NE(error_of([] { read_recipe_file("."); }).find("is a folder"), std::string::npos);
}

TEST(RecipeToml, LostLinesAreNoticed) {
  Recipe recipe;
  recipe.steps = 7;
  const std::string text = write_recipe_toml(recipe);
  EXPECT_TRUE(lost_recipe_fields(text).empty());
  for (const char* key : {"rank = ", "steps = ", "# epochs is not set", "data = "}) {
    std::string cut = text;
    const size_t at = cut.find("\n" + std::string(key)) + 1;
    cut.erase(at, cut.find('\n', at) - at);
    const auto lost = lost_recipe_fields(cut);
    ASSERT_EQ(lost.size(), 1U) << key;
    EXPECT_NE(std::string(key).find(recipe_key(*lost[0])), std::string::npos) << key;
  }
}

}  // namespace
}  // namespace plimsoll
