#include "hub/hub_cache.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "hub/fetch_process.h"
#include "hub/hub_environment.h"
#include "hub/model_source.h"
#include "support/test_files.h"

namespace plimsoll {
namespace {

const std::string kCommit(40, 'c');

TEST(HubId, PartsAndWhatIsNone) {
  const HubId id = *parse_hub_id("org/na-me_1.0@refs/pr/1:sub/m.gguf");
  EXPECT_EQ(id.repo, "org/na-me_1.0");
  EXPECT_EQ(id.revision, "refs/pr/1");
  EXPECT_EQ(id.file, "sub/m.gguf");
  EXPECT_EQ(id.text(), "org/na-me_1.0@refs/pr/1:sub/m.gguf");
  EXPECT_EQ(parse_hub_id("org/name")->revision, "main");
  for (const char* none : {"", "org", "/name", "org/", "org/a/b", "../name", "org/..", ".org/name", "org/na me",
                           "org/name@", "org/name@../x", "org/name@a//b", "org/name:", "org/name:../x", "org/name:/x",
                           "org/name:a\\b", "org/name:a//b", "-o/name"})
    EXPECT_FALSE(parse_hub_id(none)) << none;
  EXPECT_FALSE(parse_hub_id(std::string(300, 'a') + "/b"));
}

class HubCache : public ::testing::Test {
 protected:
  HubCache() {
    ::unsetenv("HF_HUB_CACHE");
    ::setenv("HF_HOME", folder.path().c_str(), 1);
    ::setenv("HF_HUB_OFFLINE", "1", 1);
    folder.write(repo + "refs/main", kCommit + "\n");
    folder.write(snapshot + "config.json", read_bytes(golden_path("models/llama/config.json")));
  }
  ~HubCache() override {
    ::unsetenv("HF_HOME");
    ::unsetenv("HF_HUB_OFFLINE");
  }
  bool has(ModelNeed need) { return snapshot_has(find_snapshot(hub_cache_folder(), id), id, need); }

  TestFolder folder;
  const std::string repo = "hub/models--org--name/";
  const std::string snapshot = repo + "snapshots/" + kCommit + "/";
  const HubId id = *parse_hub_id("org/name");
};

TEST_F(HubCache, WhatIsThere) {
  EXPECT_TRUE(has(ModelNeed::config));
  EXPECT_FALSE(has(ModelNeed::text));
  folder.write(snapshot + "tokenizer.json", "{}");
  EXPECT_TRUE(has(ModelNeed::text));
  EXPECT_FALSE(has(ModelNeed::weights));
  folder.write(snapshot + "adapter_model.safetensors", "");
  EXPECT_FALSE(has(ModelNeed::weights));
  folder.write(snapshot + "model.safetensors.index.json",
               R"({"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})");
  folder.write(snapshot + "1.safetensors", "");
  EXPECT_FALSE(has(ModelNeed::weights));
  folder.write(snapshot + "2.safetensors", "");
  EXPECT_TRUE(has(ModelNeed::weights));
  std::filesystem::remove(folder / (snapshot + "2.safetensors"));
  std::filesystem::create_symlink("../../blobs/gone", folder / (snapshot + "2.safetensors"));
  EXPECT_FALSE(has(ModelNeed::weights));
}

TEST_F(HubCache, OpensWhatIsThere) {
  EXPECT_EQ(open_model_source("org/name", ModelNeed::text).config.hidden_size, 48);
  EXPECT_EQ(open_model_source("org/name@" + kCommit, ModelNeed::config).config.hidden_size, 48);
  expect_caller_error([&] { open_model_source("org/name", ModelNeed::weights); }, "not whole");
  expect_caller_error([&] { open_model_source("org/name@v2", ModelNeed::config); }, "not in the cache");
  folder.write("hub/models--org--evil/refs/main", "../../..");
  expect_caller_error([&] { open_model_source("org/evil", ModelNeed::config); }, "not in the cache");
  expect_caller_error([&] { open_model_source("org/a/b", ModelNeed::config); }, "no file");
  expect_caller_error([&] { open_model_source("", ModelNeed::config); }, "not given");
  expect_caller_error([&] { open_model_source("absent/model.gguf", ModelNeed::config); }, "does not exist");
  EXPECT_EQ(open_model_source("llama-3.1-405b", ModelNeed::config).config.layers, 126);
  expect_caller_error([&] { open_model_source("llama-3.1-405b", ModelNeed::weights); }, "no files");
}

TEST_F(HubCache, WhereItIs) {
  EXPECT_EQ(hub_cache_folder(), folder / "hub");
  ::setenv("HF_HUB_CACHE", "~/elsewhere", 1);
  EXPECT_EQ(hub_cache_folder(), std::string(std::getenv("HOME")) + "/elsewhere");
  ::unsetenv("HF_HUB_CACHE");
  ::unsetenv("HF_TOKEN");
  EXPECT_EQ(hub_token(), "");
  folder.write("token", "hf_file\n");
  EXPECT_EQ(hub_token(), "hf_file");
  ::setenv("HF_TOKEN", " hf_variable ", 1);
  EXPECT_EQ(hub_token(), "hf_variable");
  ::setenv("HF_TOKEN", "hf_a\r\nHost: x", 1);
  expect_caller_error([] { hub_token(); }, "no access token");
  ::unsetenv("HF_TOKEN");
}

TEST(FetchReport, CarriesAnErrorOverThePipe) {
  EXPECT_EQ(read_fetch_report(report_fetched("a/b")), "a/b");
  const Caught caught = catch_error([] { read_fetch_report(report_fetch_error(4, "thing\n", "problem", "way")); });
  EXPECT_EQ(caught.kind, ErrorKind::world);
  EXPECT_EQ(caught.text, "thing\\n: problem | way");
  EXPECT_EQ(catch_error([] { read_fetch_report(report_fetch_error(2, "t", "p", "w")); }).kind, ErrorKind::caller);
  for (const char* broken : {"", "ok", "error 2\na\n", "ok\na\nb\n"})
    EXPECT_EQ(catch_error([&] { read_fetch_report(broken); }).kind, ErrorKind::world) << broken;
}

}  // namespace
}  // namespace plimsoll
