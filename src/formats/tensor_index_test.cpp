#include "formats/tensor_index.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <numeric>

#include "formats/number_conversion.h"
#include "support/test_files.h"

namespace plimsoll {
namespace {

TEST(InputFile, NamesWhatIsWrong) {
  const TestFolder folder;
  expect_caller_error([&] { InputFile(folder / "absent"); }, "does not exist");
  expect_caller_error([&] { InputFile file(folder.path()); }, "folder");
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  expect_caller_error([&] { InputFile(folder / "pipe"); }, "regular");
  const InputFile file(folder.write("a", "abc"));
  EXPECT_EQ(file.size(), 3);
  std::array<std::byte, 4> out{};
  const Caught caught = catch_error([&] { file.read(0, out); });
  EXPECT_EQ(caught.kind, ErrorKind::world);
}

TensorIndex one_tensor(const TestFolder& folder, TensorEntry entry, const std::string& bytes) {
  TensorIndex index;
  index.files.push_back(std::make_shared<InputFile>(folder.write("data", bytes)));
  entry.name = std::string("t");
  entry.bytes = static_cast<int64_t>(bytes.size()) - entry.offset;
  index.entries.push_back(std::move(entry));
  return index;
}

TEST(LoadTensor, ConvertsBetweenTypesWithAnyStaging) {
  const TestFolder folder;
  std::vector<float> values(2500);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) * 0.37F - 300.0F;
  for (const DType stored : {DType::f32, DType::bf16, DType::f16}) {
    const size_t bytes = static_cast<size_t>(dtype_bytes(stored, 2500));
    std::string data(bytes + 3, 'x');  // an odd offset
    encode_values(stored, values, reinterpret_cast<std::byte*>(data.data() + 3));
    TensorEntry entry;
    entry.dtype = stored;
    entry.shape = {50, 50};
    entry.offset = 3;
    const TensorIndex index = one_tensor(folder, entry, data);
    for (const DType target : {DType::f32, DType::bf16, DType::f16}) {
      std::vector<std::byte> expected(static_cast<size_t>(dtype_bytes(target, 2500)));
      std::vector<float> stored_values(2500);
      decode_values(stored, reinterpret_cast<std::byte*>(data.data() + 3), stored_values);
      encode_values(target, stored_values, expected.data());
      for (const size_t staging_bytes : {4UL, 37UL, 100000UL}) {
        std::vector<std::byte> out(expected.size()), staging(staging_bytes);
        load_tensor(index, index.entries[0], target, out, staging);
        EXPECT_EQ(out, expected) << dtype_name(stored) << " " << dtype_name(target) << " " << staging_bytes;
      }
    }
  }
}

TEST(LoadTensor, PutsInterleavedRowsBack) {
  const TestFolder folder;
  // Two heads of four rows, three columns; file row 4h + 2i + j is row 4h + 2j + i of the model.
  std::vector<float> model(24), stored(24);
  std::iota(model.begin(), model.end(), 0.0F);
  for (size_t h = 0; h < 2; ++h)
    for (size_t i = 0; i < 2; ++i)
      for (size_t j = 0; j < 2; ++j)
        for (size_t c = 0; c < 3; ++c) stored[(4 * h + 2 * i + j) * 3 + c] = model[(4 * h + 2 * j + i) * 3 + c];
  TensorEntry entry;
  entry.shape = {8, 3};
  entry.interleaved_heads = 2;
  const TensorIndex index = one_tensor(folder, entry, as_string(stored));
  EXPECT_EQ(min_staging_bytes(index.entries[0]), 12);
  for (const int64_t staging : {0, 30, 1000}) EXPECT_EQ(load_floats(index, "t", staging), model) << staging;

  TensorEntry bias;
  bias.shape = {8};
  bias.interleaved_heads = 2;
  const TensorIndex biases = one_tensor(folder, bias, as_string(std::vector<float>{0, 2, 1, 3, 4, 6, 5, 7}));
  EXPECT_EQ(load_floats(biases, "t"), (std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST(LoadTensor, RefusesTypesThatAreNoWeights) {
  const TestFolder folder;
  TensorEntry entry;
  entry.dtype = DType::i32;
  entry.shape = {2};
  const TensorIndex index = one_tensor(folder, entry, "12345678");
  expect_caller_error([&] { load_floats(index, "t"); }, "i32");
}

}  // namespace
}  // namespace plimsoll
