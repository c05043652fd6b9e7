#include "data/tokenizer_training/unigram_trainer.h"

#include <sentencepiece_trainer.h>

#include <unordered_map>

#include "base/error.h"

namespace plimsoll::tokenizer {
namespace {

constexpr size_t kMaxLineBytes = 4096;

// The library names what it needs as "… 10 vs 290 …"; the rest of its message is about flags that are not ours.
Error too_small(std::string_view message, int64_t vocab_size) {
  const size_t vs = message.find(" vs ");
  size_t end = vs == std::string_view::npos ? vs : vs + 4;
  while (end < message.size() && message[end] >= '0' && message[end] <= '9') ++end;
  if (vs == std::string_view::npos || end == vs + 4)
    return caller_error("the text", "is too little to learn " + std::to_string(vocab_size) + " tokens from",
                        "give more text, or another --vocab");
  const std::string needed(message.substr(vs + 4, end - vs - 4));
  return caller_error("--vocab",
                      std::to_string(vocab_size) + " is less than the " + needed +
                          " that the special tokens, the 256 bytes and the characters of the text take",
                      "give more than " + needed);
}

class Lines : public sentencepiece::SentenceIterator {
 public:
  explicit Lines(std::vector<std::string> lines) : lines_(std::move(lines)) {}
  bool done() const override { return at_ == lines_.size(); }
  void Next() override { ++at_; }
  const std::string& value() const override { return lines_[at_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  std::vector<std::string> lines_;
  size_t at_ = 0;
};

std::vector<std::string> cut_long(std::vector<std::string> lines) {
  std::vector<std::string> out;
  for (std::string& line : lines) {
    while (line.size() > kMaxLineBytes) {
      size_t cut = line.rfind(' ', kMaxLineBytes);
      if (cut == std::string::npos || cut == 0)
        for (cut = kMaxLineBytes; cut > 1 && (static_cast<unsigned char>(line[cut]) & 0xc0) == 0x80;) --cut;
      out.push_back(line.substr(0, cut));
      line.erase(0, cut);
    }
    if (!line.empty()) out.push_back(std::move(line));
  }
  return out;
}

}  // namespace

std::string train_unigram(std::vector<std::string> lines, const std::vector<std::string>& special, int64_t vocab_size,
                          int threads) {
  std::string names;
  for (const std::string& token : special) names += (names.empty() ? "" : ",") + token;
  const std::unordered_map<std::string, std::string> options = {
      {"model_type", "unigram"},
      {"vocab_size", std::to_string(vocab_size)},
      {"hard_vocab_limit", "false"},
      {"byte_fallback", "true"},
      {"normalization_rule_name", "identity"},
      {"remove_extra_whitespaces", "false"},
      {"max_sentence_length", std::to_string(2 * kMaxLineBytes)},
      {"control_symbols", names},
      {"num_threads", std::to_string(threads)},
      {"minloglevel", "3"},
  };
  Lines source(cut_long(std::move(lines)));
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(options, &source, &model);
  if (!status.ok()) throw too_small(status.message(), vocab_size);
  return model;
}

}  // namespace plimsoll::tokenizer
