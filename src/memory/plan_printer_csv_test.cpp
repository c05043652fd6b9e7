#include "memory/plan_printer_csv.h"

#include <gtest/gtest.h>

#include <vector>

namespace plimsoll {
namespace {

std::string csv(const std::vector<BufferRow>& rows) {
  std::string text;
  write_buffers_csv(rows, [&](std::string_view piece) { text += piece; });
  return text;
}

TEST(BuffersCsv, OneLineARow) {
  EXPECT_EQ(csv({}), "name,category,memory_space,size_bytes,offset,first,last,phase\n");
  EXPECT_EQ(csv({{"layers.0.q", "activations", "host", 5'000'000'000'000, 64, 3, 17, "train"}}),
            "name,category,memory_space,size_bytes,offset,first,last,phase\n"
            "layers.0.q,activations,host,5000000000000,64,3,17,train\n");
}

TEST(BuffersCsv, QuotesWhatMustBeQuoted) {
  const std::string text = csv({{"a,b", "say \"x\"", "two\nlines", 1, 2, 3, 4, ""}});
  EXPECT_EQ(text.substr(text.find('\n') + 1), "\"a,b\",\"say \"\"x\"\"\",\"two\nlines\",1,2,3,4,\n");
}

}  // namespace
}  // namespace plimsoll
