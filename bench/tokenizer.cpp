// How fast a tokenizer turns text into ids, on one thread, line by line as data files are read.
//
// usage: tokenizer TOKENIZER.json TEXT [ROUNDS]    one JSON document: ids, and the least processor seconds of a round
//
// Processor time, not the clock's, because machines are shared.
#include "data/tokenizer/tokenizer.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <limits>

#include "formats/text_file.h"

int main(int count, char** words) {
  if (count < 3) return std::fprintf(stderr, "usage: tokenizer TOKENIZER.json TEXT [ROUNDS]\n"), 2;
  const plimsoll::Tokenizer tokenizer = plimsoll::load_tokenizer_file(words[1]);
  const std::string text = plimsoll::read_text_file(words[2]);
  double best = std::numeric_limits<double>::infinity();
  size_t ids = 0;
  for (int round = 0, rounds = count > 3 ? std::atoi(words[3]) : 3; round < rounds; ++round) {
    ids = 0;
    const std::clock_t start = std::clock();
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      ids += tokenizer.encode(std::string_view(text).substr(begin, end - begin), false).size();
      begin = end + 1;
    }
    best = std::min(best, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
  }
  std::printf("{\"ids\": %zu, \"seconds\": %.4f}\n", ids, best);
}
