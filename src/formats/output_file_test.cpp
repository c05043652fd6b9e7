#include "formats/output_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include "formats/text_file.h"
#include "support/test_files.h"

namespace plimsoll {
namespace {

TEST(OutputFile, AppearsCompleteOrNotAtAll) {
  const TestFolder folder;
  folder.write("a.txt", "old");
  {
    OutputFile file(folder / "a.txt");
    file.write("new, but not finished");
  }
  EXPECT_EQ(read_bytes(folder / "a.txt"), "old");
  EXPECT_EQ(folder.files(), 1U);
  std::string expected;
  {
    OutputFile file(folder / "a.txt");
    const std::string large(200000, 'x');
    for (const std::string& piece : {std::string("small"), large, std::string("tail")}) {
      file.write(piece);
      expected += piece;
    }
    file.write_zeros(1000);
    expected += std::string(1000, '\0');
    EXPECT_EQ(file.written_bytes(), static_cast<int64_t>(expected.size()));
    EXPECT_EQ(read_bytes(folder / "a.txt"), "old");
    file.finish();
  }
  EXPECT_EQ(read_bytes(folder / "a.txt"), expected);
  EXPECT_EQ(folder.files(), 1U);
}

TEST(OutputFile, MissingFolderIsAWorldError) {
  const TestFolder folder;
  const Caught caught = catch_error([&] { write_file_atomically(folder / "absent/a.txt", "text"); });
  EXPECT_EQ(caught.kind, ErrorKind::world);
}

// A limit on file size is the nearest thing to a full disk that a test may ask for.
TEST(OutputFile, NothingIsLeftBehindWhenTheDiskRefuses) {
  const TestFolder folder;
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limited{4096, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limited), 0);
  const Caught caught = catch_error([&] { write_file_atomically(folder / "a.txt", std::string(100000, 'x')); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(caught.kind, ErrorKind::world);
  EXPECT_EQ(folder.files(), 0U);
}

TEST(OutputFile, FullDiskIsNamed) {
  if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full here";
  const Caught caught = catch_error([&] { write_file_atomically("/dev/full", std::string(100000, 'x')); });
  EXPECT_EQ(caught.kind, ErrorKind::world);
  EXPECT_NE(caught.text.find("free some space"), std::string::npos) << caught.text;
}

// A writer that is killed can tidy up nothing.
TEST(OutputFile, HasNoNameUntilItIsComplete) {
  const TestFolder folder;
  if (const int probe = ::open(folder.path().c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666); probe < 0)
    GTEST_SKIP() << "no unnamed files here";
  else ::close(probe);
  for (const char* before : {"", "old"}) {
    if (*before != '\0') folder.write("a.txt", before);
    OutputFile file(folder / "a.txt");
    file.write(std::string(200000, 'x'));
    EXPECT_EQ(folder.files(), *before == '\0' ? 0U : 1U);
    file.finish();
    EXPECT_EQ(read_bytes(folder / "a.txt"), std::string(200000, 'x'));
    EXPECT_EQ(folder.files(), 1U);
  }
}

TEST(TextFile, HasALimit) {
  const TestFolder folder;
  folder.write("a.json", "12345");
  EXPECT_EQ(read_text_file(folder / "a.json"), "12345");
  expect_caller_error([&] { read_text_file(folder / "a.json", 4); }, "4 B");
  expect_caller_error([&] { read_text_file(folder / "b.json"); }, "does not exist");
  expect_caller_error([&] { read_text_file(folder.path()); }, "folder");
  EXPECT_TRUE(file_exists(folder / "a.json"));
  EXPECT_FALSE(file_exists(folder.path()));
  EXPECT_TRUE(folder_exists(folder.path()));
}

TEST(OutputFile, LeftoversOfKilledWritersGo) {
  const TestFolder folder;
  for (const char* name :
       {"model.safetensors.tmp-4711-0", "a.tmp-1-22", "kept.tmp-dir", "kept.txt", "kept.tmp-", ".tmp-1-2"})
    folder.write(name, "x");
  remove_leftovers(folder.path());
  remove_leftovers(folder / "absent");
  EXPECT_EQ(folder.files(), 4U);
  EXPECT_FALSE(std::filesystem::exists(folder / "a.tmp-1-22"));
}

TEST(OutputFile, DevicesStayDevicesAndLinksStayLinks) {
  const TestFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  const int reader = ::open((folder / "pipe").c_str(), O_RDONLY | O_NONBLOCK);
  write_file_atomically(folder / "pipe", "through");
  char text[8] = {};
  EXPECT_EQ(::read(reader, text, sizeof(text)), 7);
  ::close(reader);
  EXPECT_TRUE(std::filesystem::is_fifo(folder / "pipe"));

  folder.write("real", "old");
  std::filesystem::create_symlink(folder / "real", folder / "link");
  write_file_atomically(folder / "link", "new");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
  EXPECT_EQ(read_bytes(folder / "real"), "new");

  expect_caller_error([&] { write_file_atomically(folder.path(), "text"); }, "is a folder");
}

}  // namespace
}  // namespace plimsoll
