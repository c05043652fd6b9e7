#include "data/tokenizer_training/train_tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "data/tokenizer/files/sentencepiece_model.h"
#include "data/tokenizer/pre_tokenizer.h"
#include "data/tokenizer/unicode.h"
#include "data/tokenizer_training/bpe_trainer.h"
#include "data/tokenizer_training/unigram_trainer.h"

namespace plimsoll {
namespace {

using namespace tokenizer;  // NOLINT
using Json = nlohmann::ordered_json;

// GPT-2's: contractions, words, numbers and signs with the space before them, the rest of the spaces.
constexpr const char* kGpt2Split = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr const char* kSpace = "\xe2\x96\x81";

class WordCounter : public PieceSink {
 public:
  void piece(std::string_view text) override { ++counts_[std::string(text)]; }
  BpeTrainer::Words take() {
    BpeTrainer::Words words;
    for (const auto& [bytes, count] : counts_) {
      std::string characters;
      append_byte_chars(bytes, characters);
      words[characters] = count;
    }
    return words;
  }

 private:
  std::unordered_map<std::string, int64_t> counts_;
};

Json added_token(int64_t id, const std::string& content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

Json tokenizer_json(Json added, Json pre_tokenizer, Json decoder, Json model) {
  return {{"version", "1.0"},          {"truncation", nullptr},
          {"padding", nullptr},        {"added_tokens", std::move(added)},
          {"normalizer", nullptr},     {"pre_tokenizer", std::move(pre_tokenizer)},
          {"post_processor", nullptr}, {"decoder", std::move(decoder)},
          {"model", std::move(model)}};
}

Json config_json(const char* bos, const char* eos, const char* unk) {
  Json json = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"bos_token", bos}, {"eos_token", eos}};
  if (unk != nullptr) json["unk_token"] = unk;
  json["clean_up_tokenization_spaces"] = false;
  return json;
}

void learn_bpe(const TokenizerTraining& training, const std::vector<std::string>& special, const TextSource& texts,
               TrainedTokenizer& out) {
  const auto smallest = static_cast<int64_t>(special.size()) + 256;
  if (training.vocab_size <= smallest)
    throw caller_error("--vocab", std::to_string(training.vocab_size) + " leaves nothing to learn",
                       "give more than " + std::to_string(smallest) + ": 256 bytes and the special tokens come first");
  const PreTokenizer splits = make_byte_level_splits({kGpt2Split}, "GPT-2's pieces");
  PreTokenizerScratch scratch;
  RegexScratch regex;
  WordCounter counter;
  texts([&](std::string_view text) {
    ++out.texts;
    out.text_bytes += static_cast<int64_t>(text.size());
    std::string repaired;
    if (valid_utf8_prefix(text) != text.size()) text = repaired = to_valid_utf8(text);
    pre_tokenize(splits, text, true, scratch, regex, counter);
  });
  const BpeVocabulary learnt = BpeTrainer::train(counter.take(), special, training.vocab_size);
  Json vocabulary = Json::object(), merges = Json::array(), added = Json::array();
  for (size_t id = 0; id < learnt.tokens.size(); ++id) vocabulary[learnt.tokens[id]] = id;
  for (const auto& [left, right] : learnt.merges) merges.push_back({left, right});
  for (size_t i = 0; i < special.size(); ++i) added.push_back(added_token(static_cast<int64_t>(i), special[i]));
  const Json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  out.vocab_size = static_cast<int64_t>(learnt.tokens.size());
  out.tokenizer_json = tokenizer_json(std::move(added), byte_level, byte_level,
                                      {{"type", "BPE"},
                                       {"dropout", nullptr},
                                       {"unk_token", nullptr},
                                       {"continuing_subword_prefix", nullptr},
                                       {"end_of_word_suffix", nullptr},
                                       {"fuse_unk", false},
                                       {"byte_fallback", false},
                                       {"ignore_merges", false},
                                       {"vocab", std::move(vocabulary)},
                                       {"merges", std::move(merges)}})
                           .dump();
  out.tokenizer_config_json = config_json("<|endoftext|>", "<|endoftext|>", nullptr).dump(2) + "\n";
}

void learn_unigram(const TokenizerTraining& training, const std::vector<std::string>& special, const TextSource& texts,
                   TrainedTokenizer& out) {
  std::vector<std::string> lines;
  texts([&](std::string_view text) {
    ++out.texts;
    out.text_bytes += static_cast<int64_t>(text.size());
    const std::string valid = to_valid_utf8(text);
    for (size_t begin = 0; begin < valid.size();) {
      const size_t end = std::min(valid.find('\n', begin), valid.size());
      if (end > begin) lines.push_back(valid.substr(begin, end - begin));
      begin = end + 1;
    }
  });
  if (lines.empty()) throw caller_error("the text", "has no words", "give files with text");
  const SentencePieceModel model = SentencePieceModel::load(
      train_unigram(std::move(lines), special, training.vocab_size, training.threads), "the trained model");
  Json pieces = Json::array(), added = Json::array();
  for (int32_t id = 0; id < model.size(); ++id) {
    pieces.push_back({model.piece(id), model.score(id)});
    const auto type = model.type(id);
    if (type == SentencePieceModel::PieceType::control || type == SentencePieceModel::PieceType::unknown)
      added.push_back(added_token(id, model.piece(id)));
  }
  out.vocab_size = model.size();
  const Json decoder = {{"type", "Sequence"},
                        {"decoders",
                         {{{"type", "Replace"}, {"pattern", {{"String", kSpace}}}, {"content", " "}},
                          {{"type", "ByteFallback"}},
                          {{"type", "Fuse"}},
                          {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}};
  out.tokenizer_json =
      tokenizer_json(std::move(added),
                     {{"type", "Metaspace"}, {"replacement", kSpace}, {"prepend_scheme", "first"}, {"split", true}},
                     decoder,
                     {{"type", "Unigram"}, {"unk_id", 0}, {"vocab", std::move(pieces)}, {"byte_fallback", true}})
          .dump();
  out.tokenizer_config_json = config_json("<s>", "</s>", "<unk>").dump(2) + "\n";
}

}  // namespace

TrainedTokenizer train_tokenizer(const TokenizerTraining& training, const TextSource& texts) {
  const bool bpe = training.kind == TokenizerKind::bpe;
  std::set<std::string> taken = bpe ? std::set<std::string>{} : std::set<std::string>{"<unk>", "<s>", "</s>"};
  std::vector<std::string> special = bpe ? std::vector<std::string>{"<|endoftext|>"} : std::vector<std::string>{};
  special.insert(special.end(), training.special.begin(), training.special.end());
  for (const std::string& token : special)
    if (token.empty() || token.find(',') != std::string::npos || valid_utf8_prefix(token) != token.size() ||
        !taken.insert(token).second)
      throw caller_error("--special", "'" + token + "' is empty, there already, or has a comma in it",
                         "give each token once, like --special '<|user|>'");
  TrainedTokenizer out;
  if (bpe) learn_bpe(training, special, texts, out);
  else learn_unigram(training, special, texts, out);
  if (out.text_bytes == 0) throw caller_error("the text", "is empty", "give files with text");
  return out;
}

}  // namespace plimsoll
