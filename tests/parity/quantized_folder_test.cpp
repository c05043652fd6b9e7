// Folders that transformers stored quantized, with bitsandbytes and compressed-tensors: logits with the weights that
// those libraries restore. Made by tests/tools/make_quantized_golden.py.
#include <gtest/gtest.h>

#include "support/golden.h"
#include "support/test_files.h"
#include "train/probe.h"

namespace plimsoll {
namespace {

class QuantizedFolder : public testing::TestWithParam<const char*> {};

TEST_P(QuantizedFolder, HasTheLogitsOfTheLibrary) {
  const std::string folder = "quantized_folders/" + std::string(GetParam());
  const TestFolder out;
  ProbeOptions options;
  options.model = golden_path(folder);
  options.batch = golden_path(folder + "/expected.safetensors");
  options.out = out / "out.safetensors";
  options.threads = 2;
  run_probe(options);
  const std::vector<float> logits = read_tensor_as<float>(open_safetensors(out / "out.safetensors"), "logits");
  const std::vector<float> expected = Golden(folder + "/expected.safetensors").f32("logits");
  ASSERT_EQ(logits.size(), expected.size());
  for (size_t i = 0; i < logits.size(); ++i) ASSERT_NEAR(logits[i], expected[i], 2e-5) << i;
}

INSTANTIATE_TEST_SUITE_P(Types, QuantizedFolder,
                         testing::Values("nf4_double", "fp4", "llm_int8", "int4", "int3_zeros", "fp8"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace plimsoll
