// Runs a fuzz target without libFuzzer: over every file of a folder, over prefixes of it (a truncated download) and
// over copies with single bytes changed. The same inputs on every run. Crashes and sanitizer reports end the process.
//
// usage: fuzz_NAME FOLDER
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr size_t kPrefixes = 256;  // of one seed; all of them where the seed is shorter
constexpr size_t kChanged = 512;   // copies of one seed with a byte changed

void run(const std::vector<uint8_t>& input) {
  // A buffer of exactly this size, so that AddressSanitizer sees a read past the end.
  const std::vector<uint8_t> exact(input.begin(), input.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

void run_damaged(const std::vector<uint8_t>& seed) {
  const size_t step = std::max<size_t>(1, seed.size() / kPrefixes);
  for (size_t length = 0; length < seed.size(); length += step)
    run({seed.begin(), seed.begin() + static_cast<long>(length)});
  std::mt19937 random(1);
  for (size_t i = 0; i < kChanged && !seed.empty(); ++i) {
    std::vector<uint8_t> changed = seed;
    changed[random() % seed.size()] = static_cast<uint8_t>(random());
    run(changed);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 || !std::filesystem::is_directory(argv[1])) {
    std::fprintf(stderr, "usage: %s FOLDER-OF-SEEDS\n", argv[0]);
    return 2;
  }
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  for (const auto& path : files) {
    std::ifstream file(path, std::ios::binary);
    const std::vector<uint8_t> seed{std::istreambuf_iterator<char>(file), {}};
    run(seed);
    run_damaged(seed);
  }
  std::printf("%zu seeds\n", files.size());
  return files.empty() ? 1 : 0;
}
