#include "passes/lora.h"

#include <gtest/gtest.h>

#include <set>

#include "arch/architecture.h"
#include "config/model_config.h"
#include "support/test_files.h"

namespace plimsoll {
namespace {

Graph graph_of(const std::string& model) {
  return build_forward(parse_hf_config(read_bytes(golden_path("models/" + model + "/config.json")), model), {}).graph;
}

std::set<std::string> names(const std::string& model, const std::string& targets) {
  std::set<std::string> out;
  for (const LoraModule& module : select_lora_modules(graph_of(model), targets, 2, 1.0F))
    out.insert(module.path.substr(module.path.rfind('.') + 1));
  return out;
}

using Names = std::set<std::string>;

TEST(Lora, TargetsOfMixtures) {
  EXPECT_EQ(names("mixtral", "all-linear"), (Names{"q_proj", "k_proj", "v_proj", "o_proj"}));
  EXPECT_EQ(names("mixtral", "experts"), (Names{"w1", "w2", "w3"}));
  EXPECT_EQ(names("mixtral", "q_proj, experts"), (Names{"q_proj", "w1", "w2", "w3"}));
  EXPECT_EQ(names("qwen3_moe", "down_proj"), (Names{"down_proj"}));
  EXPECT_EQ(names("qwen3_moe", "all-linear,experts").size(), 7U);
}

TEST(Lora, WhatPeftWouldNotLoadIsRefused) {
  expect_caller_error([] { names("mixtral", "w1,w3"); }, "--targets");
  expect_caller_error([] { names("phimoe", "experts"); }, "experts of this family");
  expect_caller_error([] { names("gpt_oss", "experts"); }, "experts of this family");
  expect_caller_error([] { names("llama", "experts"); }, "--targets");
}

TEST(Lora, AnAdapterOfSomeExpertsIsRefused) {
  Graph graph = graph_of("mixtral");
  std::vector<LoraModule> modules = select_lora_modules(graph, "experts", 2, 1.0F);
  modules.pop_back();
  expect_caller_error([&] { apply_lora(graph, modules); }, "not every expert");
}

}  // namespace
}  // namespace plimsoll
