#include "data/files/row_reader.h"

#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "data/jinja/json.h"

namespace plimsoll {
namespace {

std::string gzip(const std::string& text) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

class RowReaderTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) / ("rows" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& bytes) {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return folder_ / name;
  }

  // Each row as "LINE JSON", or "LINE !problem"; an Error ends the list as "!!thing: problem".
  std::vector<std::string> rows(const std::string& name, const std::string& bytes, TextSplit split = TextSplit::file) {
    const std::string path = write(name, bytes);
    std::vector<std::string> out;
    const auto cut = [&](const std::string& place) {
      return place.starts_with(path) ? place.substr(std::min(path.size() + 1, place.size())) : place;
    };
    try {
      RowReader reader(path, split);
      while (reader.next()) {
        try {
          out.push_back(cut(reader.place()) + " " + jinja::dump_json(reader.value(), {}));
        } catch (const jinja::Failure& failure) {
          out.push_back(cut(reader.place()) + " !" + failure.what());
        }
      }
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::caller);
      EXPECT_FALSE(error.way_out().empty());
      out.push_back("!!" + cut(error.thing()) + ": " + error.problem());
    }
    return out;
  }

  std::filesystem::path folder_;
};

using Rows = std::vector<std::string>;

TEST_F(RowReaderTest, PackedFilesAreTheSameRows) {
  std::string text;
  for (int i = 0; i < 20000; ++i) text += "{\"text\": \"row " + std::to_string(i * 7919 % 10007) + "\"}\n";
  const Rows plain = rows("a.jsonl", text);
  ASSERT_EQ(plain.size(), 20000U);
  EXPECT_EQ(rows("a.jsonl.gz", gzip(text)), plain);
  EXPECT_EQ(rows("a.jsonl.zst", zstd(text)), plain);
  EXPECT_EQ(rows("packed.jsonl", zstd(text)), plain);  // by content, whatever the name
  const std::string first = text.substr(0, 100000), second = text.substr(100000);
  EXPECT_EQ(rows("b.jsonl.gz", gzip(first) + gzip(second)), plain);  // several members, frames
  EXPECT_EQ(rows("b.jsonl.zst", zstd(first) + zstd(second)), plain);
  EXPECT_EQ(rows("empty.jsonl.gz", gzip("")), Rows());
}

TEST_F(RowReaderTest, DamagedPackedFiles) {
  std::string text;
  for (int i = 0; i < 50000; ++i) text += "{\"text\": \"row " + std::to_string(i * 7919 % 100003) + "\"}\n";
  for (const std::string& packed : {gzip(text), zstd(text)}) {
    const Rows cut = rows("a.jsonl", packed.substr(0, packed.size() / 2));
    EXPECT_NE(cut.back().find("cannot be unpacked: the file ends too early"), std::string::npos) << cut.back();
    EXPECT_NE(rows("a.jsonl", packed + "more").back().find("cannot be unpacked"), std::string::npos);
  }
}

TEST_F(RowReaderTest, ChangedBytesOfGzipAreNoticed) {
  std::string packed = gzip("{\"text\": \"row\"}\n");
  packed[packed.size() - 6] = static_cast<char>(~packed[packed.size() - 6]);  // its checksum
  EXPECT_NE(rows("a.jsonl", packed).back().find("cannot be unpacked"), std::string::npos);
}

// A small file that unpacks without end is refused, in bounded memory.
TEST_F(RowReaderTest, Bombs) {
  std::string megabyte(1 << 20, ' ');
  megabyte.back() = '\n';
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, 20);
  std::string bomb;
  std::string out(1 << 20, '\0');
  for (int i = 0; i < 600; ++i) {
    ZSTD_inBuffer input{megabyte.data(), megabyte.size(), 0};
    ZSTD_outBuffer output{out.data(), out.size(), 0};
    ZSTD_compressStream2(context, &output, &input, i == 599 ? ZSTD_e_end : ZSTD_e_continue);
    bomb.append(out.data(), output.pos);
  }
  ZSTD_freeCCtx(context);
  EXPECT_EQ(rows("bomb.jsonl.zst", bomb).back().substr(0, 60), "!!: unpacks to more than 5,000 times its size");
  const Rows line = rows("line.jsonl.gz", gzip(std::string(80 << 20, 'x')));
  EXPECT_EQ(line, Rows{"!!1: the line is longer than 64 MiB"});
}

TEST_F(RowReaderTest, JsonArraysAndObjectsThatHoldOne) {
  const Rows expected = {"1 (row 1) {\"text\": \"a]\\\"[\"}", "2 (row 2) {\"text\": {\"b\": [1, {}]}}", "3 (row 3) 17"};
  const std::string list = "[{\"text\": \"a]\\\"[\"},\n{\"text\": {\"b\": [1, {}]}}\n,17]";
  EXPECT_EQ(rows("a.json", list), expected);
  EXPECT_EQ(rows("noname", "\xEF\xBB\xBF \t" + list + "\n"), expected);
  EXPECT_EQ(rows("o.json",
                 "{\"version\": {\"data\": [1]}, \"k\\\"\": \"}\", \"data\": " + list + ", \"n\": [1, {\"a\": 2}]}"),
            expected);
  EXPECT_EQ(rows("t.json", "{\"train\": " + list + "}"), expected);
  EXPECT_EQ(rows("e.json", "[]"), Rows());
  EXPECT_EQ(rows("l.json", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n"),
            (Rows{"1 {\"text\": \"a\"}", "2 {\"text\": \"b\"}"}));
  EXPECT_EQ(rows("l.json", "{\"data\": [1, 2]}\n"), (Rows{"1 {\"data\": [1, 2]}"}));
}

TEST_F(RowReaderTest, BrokenJsonDocuments) {
  EXPECT_EQ(rows("a.json", "[{\"a\": 1}").back(), "!!1: the list of rows does not end");
  EXPECT_EQ(rows("a.json", "[{\"a\": \"1").back(), "!!1: the document ends in the middle of a row");
  EXPECT_EQ(rows("a.json", "[{\"a\": 1}\n{}]").back(), "!!2: a comma is missing between two rows");
  EXPECT_EQ(rows("a.json", "[1]\n[2]").back(), "!!2: something follows the document");
  EXPECT_EQ(rows("a.json", "{\"data\": [{}]").back(), "!!1: the object around the rows does not end");
  EXPECT_EQ(rows("a.json", "{\"data\": [{}]}{").back(), "!!1: something follows the document");
  // A row that is not JSON is one bad row, and the others go on.
  const Rows broken = rows("a.json", "[{\"a\" 1}, {\"b\": 2}]");
  ASSERT_EQ(broken.size(), 2U);
  EXPECT_TRUE(broken[0].starts_with("1 (row 1) !parse error")) << broken[0];
  EXPECT_EQ(broken[1], "1 (row 2) {\"b\": 2}");
}

TEST_F(RowReaderTest, CsvOfTheStandard) {
  EXPECT_EQ(rows("a.csv", "text,n\r\n\"a, \"\"b\"\"\r\nc\",1\r\n\r\nd,\r\n\"\",\"x\""),
            (Rows{"2 {\"text\": \"a, \\\"b\\\"\\r\\nc\", \"n\": \"1\"}", "5 {\"text\": \"d\", \"n\": \"\"}",
                  "6 {\"text\": \"\", \"n\": \"x\"}"}));
  EXPECT_EQ(rows("a.csv", "\xEF\xBB\xBFtext\nä 5\" b\n"), Rows{"2 {\"text\": \"ä 5\\\" b\"}"});
  EXPECT_EQ(rows("a.csv", "\"text\";n\na,b;2\n"), Rows{"2 {\"text\": \"a,b\", \"n\": \"2\"}"});
  EXPECT_EQ(rows("a.tsv", "text\tn\na,b\t2\n"), Rows{"2 {\"text\": \"a,b\", \"n\": \"2\"}"});
  EXPECT_EQ(rows("a.csv", "text\n"), Rows());
  EXPECT_EQ(rows("a.csv", ""), Rows());
  EXPECT_EQ(rows("a.csv", "messages,text\n\"[{\"\"role\"\": 1}]\",[x\n"),
            (Rows{"2 {\"messages\": [{\"role\": 1}], \"text\": \"[x\"}"}));
}

TEST_F(RowReaderTest, BadCsv) {
  EXPECT_EQ(rows("a.csv", "a,b\n1\n1,2\n1,2,3\n"),
            (Rows{"2 !the row has 1 cells, the header 2", "3 {\"a\": \"1\", \"b\": \"2\"}",
                  "4 !the row has 3 cells, the header 2"}));
  EXPECT_EQ(rows("a.csv", "a\n\"x\"y\nz\n"),
            (Rows{"2 !a quoted cell goes on behind its closing quote", "3 {\"a\": \"z\"}"}));
  EXPECT_EQ(rows("a.csv", "a\nx\n\"y\nz\n"),
            (Rows{"2 {\"a\": \"x\"}", "3 !a quote that opens here is not closed before the end of the file"}));
  EXPECT_EQ(rows("a.csv", "a\n\xff\n"), Rows{"2 !column a is not UTF-8 text"});
  EXPECT_EQ(rows("a.csv", "a,b,a\n"), Rows{"!!1: the column 'a' stands twice in the header"});
}

TEST_F(RowReaderTest, TextByFileParagraphAndLine) {
  const std::string text = "a\nb\r\n\n  \nc\n";
  EXPECT_EQ(rows("a.txt", text), Rows{"1 {\"text\": \"a\\nb\\r\\n\\n  \\nc\\n\"}"});
  EXPECT_EQ(rows("a.txt", text, TextSplit::paragraph), (Rows{"1 {\"text\": \"a\\nb\"}", "5 {\"text\": \"c\"}"}));
  EXPECT_EQ(rows("a.md", text, TextSplit::line),
            (Rows{"1 {\"text\": \"a\"}", "2 {\"text\": \"b\"}", "5 {\"text\": \"c\"}"}));
  EXPECT_EQ(rows("a.txt", "\xff"), Rows{"1 !the text is not valid UTF-8"});
  EXPECT_EQ(rows("a.txt", ""), Rows());
}

// Pieces are cut behind paragraphs, else lines, else words, else characters, and lose nothing.
TEST_F(RowReaderTest, LongTextComesInPieces) {
  for (const char* unit : {"word\n\n", "word\n", "word ", "äöüß"}) {
    std::string text;
    while (static_cast<int64_t>(text.size()) < 2 * kTextPieceBytes + 100) text += unit;
    RowReader reader(write("a.txt", text), TextSplit::file);
    std::string all;
    size_t pieces = 0;
    while (reader.next()) {
      EXPECT_EQ(reader.piece().first, pieces == 0);
      const std::string piece = reader.value().as_dict().find(std::string_view("text"))->text();
      EXPECT_LE(static_cast<int64_t>(piece.size()), kTextPieceBytes);
      EXPECT_EQ(piece.size() % 2, text.size() % 2);  // never inside a unit
      all += piece;
      ++pieces;
      EXPECT_EQ(reader.piece().last, all.size() == text.size());
    }
    EXPECT_EQ(pieces, 3U);
    EXPECT_TRUE(all == text);
  }
}

TEST_F(RowReaderTest, FilesOfUnknownKinds) {
  EXPECT_EQ(rows("data.bin", "hello"), Rows{"!!: neither its name nor its first bytes say what kind of data it is"});
  EXPECT_EQ(rows("data.parquet", "PAR1xxxx"), Rows{"!!: is a Parquet file, which is not read"});
  EXPECT_EQ(rows("train", "{\"text\": \"a\"}\n{\"text\": \"b\"}").size(), 2U);
  EXPECT_EQ(rows("UPPER.CSV", "text\na").size(), 1U);
}

TEST_F(RowReaderTest, LongRowsAreRefusedWithTheirLine) {
  const std::string big(static_cast<size_t>(kMaxRowBytes) + 10, 'x');
  EXPECT_EQ(rows("a.jsonl", "{}\n\"" + big + "\"\n").back(), "!!2: the line is longer than 64 MiB");
  EXPECT_EQ(rows("a.json", "[\n\"" + big + "\"]").back(), "!!2: the row is longer than 64 MiB");
  EXPECT_EQ(rows("a.csv", "a\nb\n" + big).back(), "!!3: the row is longer than 64 MiB");
  EXPECT_EQ(rows("a.txt", "a\n\n" + big, TextSplit::paragraph).back(), "!!3: the line is longer than 64 MiB");
}

}  // namespace
}  // namespace plimsoll
