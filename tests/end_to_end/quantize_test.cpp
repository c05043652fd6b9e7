// `plimsoll quantize` as a program: every type there and back, the line, full disks, wrong use.
#include <gtest/gtest.h>

#include "base/bytes.h"
#include "end_to_end/program.h"
#include "support/tiny_model.h"

namespace plimsoll {
namespace {

class QuantizeTest : public testing::Test {
 protected:
  QuantizeTest() {
    ModelConfig config = tiny_llama();
    config.intermediate_size = 192;
    write_random_model(folder / "model", config);
    write_random_rows(folder / "rows.jsonl", 24, 20, 60, 256);
  }
  Finished quantize(std::vector<std::string> words, const ProgramLimits& limits = {}) {
    words.insert(words.begin(), {"quantize", folder / "model"});
    return run_program(words, folder, limits);
  }
  // Nothing but what the test put there.
  size_t entries() const { return folder.files(); }

  TestFolder folder;
};

TEST_F(QuantizeTest, EveryTypeIsWrittenAndReadBack) {
  struct Row {
    std::string type, out;
    double most_kl;
    std::vector<std::string> more = {};
  };
  const std::vector<Row> rows = {{"f32", "f32", 1e-9},
                                 {"bf16", "bf16", 1e-4},
                                 {"nf4", "nf4", 0.02},
                                 {"nf4", "nf4_plain", 0.02, {"--double-quant", "off"}},
                                 {"fp4", "fp4", 0.05},
                                 {"llm_int8", "llm_int8", 1e-3},
                                 {"fp8", "fp8", 1e-3},
                                 {"fp8_block", "fp8_block", 1e-3},
                                 {"int8", "int8", 1e-4},
                                 {"int4", "int4", 0.02},
                                 {"int4", "int4_zeros", 0.02, {"--symmetric", "off", "--group-size", "32"}},
                                 {"int4", "int4_mse", 0.02, {"--clip", "mse"}},
                                 {"int4", "int4_percentile", 0.05, {"--clip", "percentile"}},
                                 {"q8_0", "q8_0.gguf", 1e-3},
                                 {"q4_k_m", "q4_k_m.gguf", 0.02},
                                 {"q2_k", "q2_k.gguf", 0.05},
                                 {"f16", "f16.gguf", 1e-4}};
  for (const Row& row : rows) {
    SCOPED_TRACE(row.out);
    std::vector<std::string> words = {"--type",    row.type, "--out", folder / row.out, "--eval", folder / "rows.jsonl",
                                      "--seq-len", "64",     "--json"};
    words.insert(words.end(), row.more.begin(), row.more.end());
    const Finished done = quantize(words);
    ASSERT_EQ(done.code, 0) << done.err;
    const auto report = done.json();
    EXPECT_EQ(report.at("bytes_before"), 4 * report.at("parameters").get<int64_t>());
    EXPECT_LE(report.at("bytes_after"), report.at("bytes_before"));
    EXPECT_NEAR(report.at("bits_per_weight").get<double>(),
                8.0 * report.at("bytes_after").get<double>() / report.at("parameters").get<double>(), 1e-9);
    EXPECT_LE(report.at("worst").size(), 10U);
    EXPECT_LT(report.at("eval").at("kl_divergence"), row.most_kl);
    // The file alone gives the perplexity that the report says, and the original the other.
    const Finished eval = run_program(
        {"eval", folder / row.out, "--data", folder / "rows.jsonl", "--seq-len", "64", "--precision", "fp32", "--json"},
        folder);
    ASSERT_EQ(eval.code, 0) << eval.err;
    const double perplexity = eval.json().at("perplexity");
    EXPECT_NEAR(report.at("eval").at("perplexity").get<double>(), perplexity, 1e-4 * perplexity);
    EXPECT_EQ(report.at("eval").at("tokens"), eval.json().at("tokens"));
  }
}

// On a random model perplexity says little; how far the distributions are apart does.
// Experts stay packed, too: the same numbers as with experts that are unpacked when they are loaded, in fewer bytes.
TEST_F(QuantizeTest, ExpertsAreUsedAsTheyAreStored) {
  ModelConfig config = tiny_llama();
  config.architecture = "mixtral";
  config.tied_embeddings = false;
  config.layers = 3;
  config.mixture.experts = 16;
  config.mixture.chosen = 2;
  config.mixture.width = config.intermediate_size = 256;
  config.mixture.layers = {true, true, true};
  write_random_model(folder / "model", config);
  ASSERT_EQ(quantize({"--type", "q8_0", "--out", folder / "mixture.gguf"}).code, 0);
  const auto train = [&](const std::string& method, const std::string& quant) {
    const std::string out = folder / (method + "_" + quant);
    const Finished done = run_program({"train",
                                       "--model",
                                       folder / "mixture.gguf",
                                       "--data",
                                       folder / "rows.jsonl",
                                       "--method",
                                       method,
                                       "--quant",
                                       quant,
                                       "--targets",
                                       "all-linear,experts",
                                       "--rank",
                                       "2",
                                       "--seq-len",
                                       "64",
                                       "--global-batch",
                                       "2",
                                       "--steps",
                                       "3",
                                       "--precision",
                                       "fp32",
                                       "--recompute",
                                       "none",
                                       "--threads",
                                       "2",
                                       "--out",
                                       out,
                                       "--json"},
                                      folder, {});
    EXPECT_EQ(done.code, 0) << done.err;
    return done.json();
  };
  const auto packed = train("qlora", "stored"), unpacked = train("lora", "none");
  EXPECT_NEAR(packed.at("final_loss").get<double>(), unpacked.at("final_loss").get<double>(), 1e-6);
  // Three bytes less for each of the experts' weights, in truth 2.94.
  EXPECT_LT(packed.at("arena_bytes").get<int64_t>() + 2 * 3 * 16 * 3 * 64 * 256,
            unpacked.at("arena_bytes").get<int64_t>());
}

TEST_F(QuantizeTest, DataBringsTheModelNearerToTheOriginal) {
  const auto kl = [&](const std::string& out, std::vector<std::string> more) {
    std::vector<std::string> words = {"--type",    "int4",       "--group-size", "64",
                                      "--out",     folder / out, "--eval",       folder / "rows.jsonl",
                                      "--seq-len", "64",         "--json"};
    words.insert(words.end(), more.begin(), more.end());
    const Finished done = quantize(words);
    EXPECT_EQ(done.code, 0) << done.err;
    return done.json().at("eval").at("kl_divergence").get<double>();
  };
  const double plain = kl("plain", {});
  EXPECT_LT(kl("gptq", {"--calibrate", folder / "rows.jsonl", "--method", "gptq"}), 0.9 * plain);
  EXPECT_LT(kl("ordered", {"--calibrate", folder / "rows.jsonl", "--method", "gptq", "--act-order"}), 0.9 * plain);
  EXPECT_LT(kl("awq", {"--calibrate", folder / "rows.jsonl", "--method", "awq"}), plain);
  // The same bytes with any number of threads.
  kl("one", {"--calibrate", folder / "rows.jsonl", "--method", "gptq", "--threads", "1"});
  EXPECT_EQ(read_bytes(folder / "one/model.safetensors"), read_bytes(folder / "gptq/model.safetensors"));
}

TEST_F(QuantizeTest, WrongUseIsNamedAndLeavesNothing) {
  folder.write("there.gguf", "x");
  const size_t before = entries() + 2;  // the log
  const auto refuses = [&](const std::vector<std::string>& words, const std::string& part) {
    const Finished done = quantize(words);
    EXPECT_EQ(done.code, 2) << done.err;
    EXPECT_NE(done.err.find(part), std::string::npos) << done.err;
    EXPECT_NE(done.err.find("  try: "), std::string::npos) << done.err;
    EXPECT_EQ(entries(), before);
  };
  const std::string out = folder / "out", gguf = folder / "out.gguf", rows = folder / "rows.jsonl";
  refuses({"--type", "nf5", "--out", out}, "did you mean nf4");
  refuses({"--type", "nf4", "--out", gguf}, "folders only");
  refuses({"--type", "q4_k_m", "--out", out}, "GGUF only");
  refuses({"--type", "int4", "--out", out, "--group-size", "3"}, "--group-size");
  refuses({"--type", "int4", "--out", out, "--group-size", "72"}, "does not divide");
  refuses({"--type", "fp8_block", "--out", out, "--group-size", "128"}, "does not divide");
  refuses({"--type", "llm_int8", "--out", out, "--group-size", "64"}, "has no groups");
  refuses({"--type", "nf4", "--out", out, "--method", "gptq", "--calibrate", rows}, "not calibrated");
  refuses({"--type", "int4", "--out", out, "--method", "gptq"}, "--calibrate");
  refuses({"--type", "int4", "--out", out, "--method", "best", "--calibrate", rows}, "gptq, awq");
  refuses({"--type", "nf4", "--out", out, "--clip", "mse"}, "--clip");
  refuses({"--type", "int4", "--out", out, "--act-order"}, "--act-order");
  refuses({"--type", "int4", "--out", out, "--method", "gptq", "--calibrate", rows, "--seq-len", "100000"},
          "less than one row");
  refuses({"--type", "nf4", "--out", folder / "model"}, "is there already");
  refuses({"--type", "q8_0", "--out", folder / "there.gguf"}, "is there already");
}

TEST_F(QuantizeTest, TheLineHolds) {
  for (const std::vector<std::string>& more :
       {std::vector<std::string>{}, std::vector<std::string>{"--calibrate", folder / "rows.jsonl", "--method", "gptq"},
        std::vector<std::string>{"--eval", folder / "rows.jsonl"}}) {
    std::vector<std::string> words = {"--type", "int4", "--seq-len", "64", "--out", folder / "out", "--json"};
    words.insert(words.end(), more.begin(), more.end());
    words.insert(words.end(), {"--memory", "1MiB"});
    const Finished refused = quantize(words);
    ASSERT_EQ(refused.code, 3) << refused.err;
    const size_t at = refused.err.find("--memory ", refused.err.find("try:"));
    const int64_t least = std::stoll(refused.err.substr(at + 9));
    EXPECT_FALSE(std::filesystem::exists(folder / "out"));
    words.back() = std::to_string(least);
    const Finished done = quantize(words);
    ASSERT_EQ(done.code, 0) << done.err;
    EXPECT_LE(done.json().at("peak_resident_bytes"), least);
    std::filesystem::remove_all(folder / "out");
  }
}

TEST_F(QuantizeTest, AFullDiskIsACleanError) {
  const size_t before = entries() + 2;
  for (const std::string out : {"out", "out.gguf"}) {
    ProgramLimits limits;
    limits.file_bytes = 40 << 10;
    const Finished done =
        quantize({"--type", out == "out" ? "int8" : "q8_0", "--out", folder / out, "--quiet"}, limits);
    EXPECT_EQ(done.code, 4) << done.err;
    EXPECT_EQ(entries(), before);
  }
}

TEST_F(QuantizeTest, ADamagedFolderIsNoCrash) {
  ASSERT_EQ(quantize({"--type", "nf4", "--out", folder / "nf4"}).code, 0);
  const std::string file = folder / "nf4/model.safetensors", bytes = read_bytes(file);
  const auto load = [&] {
    return run_program({"quantize", folder / "nf4", "--type", "f32", "--out", folder / "again"}, folder);
  };
  folder.write("nf4/model.safetensors", bytes.substr(0, bytes.size() / 2));
  Finished done = load();
  EXPECT_TRUE(done.code == 2 || done.code == 4) << done.err;
  std::string renamed = bytes;
  renamed.replace(renamed.find("q_proj.weight.absmax"), 20, "q_proj.weight.absmix");
  folder.write("nf4/model.safetensors", renamed);
  done = load();
  EXPECT_EQ(done.code, 2);
  EXPECT_NE(done.err.find("absmax is missing"), std::string::npos) << done.err;
}

}  // namespace
}  // namespace plimsoll
