#include "data/tokenizer/files/tokenizer_gguf.h"

#include <cmath>

#include "base/error.h"
#include "data/tokenizer/tokenizer_parts.h"
#include "data/tokenizer/unicode.h"

namespace plimsoll {
namespace {

using namespace tokenizer;  // NOLINT

constexpr std::string_view kSpace = "\xe2\x96\x81";  // ▁, SentencePiece's space

class Loader {
 public:
  Loader(const GgufVocabulary& in, std::string_view source)
      : in_(in), source_(source), parts_(std::make_unique<TokenizerParts>()) {}

  Tokenizer run() {
    parts_->special = gguf_special_ids(in_, source_);
    read_tokens();
    const bool spm = in_.model == "llama";
    const bool add_bos_by_default = spm ? make_spm() : make_bpe();
    parts_->added = build_added_tokens(std::move(added_), parts_->normalizer, source_);
    parts_->post_processor =
        surround_with(parts_->special, in_.add_bos.value_or(add_bos_by_default), in_.add_eos.value_or(false), source_);
    return Tokenizer(std::move(parts_));
  }

 private:
  [[noreturn]] void fail_file(const std::string& problem) const {
    throw caller_error(std::string(source_), problem, "convert or download the file again");
  }

  void read_tokens() {
    const int64_t count = in_.tokens.count;
    if (!in_.token_types.empty() && static_cast<int64_t>(in_.token_types.size()) != count)
      fail_file("tokenizer.ggml.token_type has another length than tokens");
    size_t bytes = 0;
    for (int64_t i = 0; i < count; ++i) bytes += in_.tokens.at(i).size();
    parts_->vocabulary.reserve(static_cast<size_t>(count), bytes);
    for (int64_t i = 0; i < count; ++i) {
      const std::string_view text = in_.tokens.at(i);
      if (valid_utf8_prefix(text) != text.size()) fail_file("token " + std::to_string(i) + " is not UTF-8");
      if (parts_->vocabulary.add(text, static_cast<int32_t>(i)) != Vocabulary::Added::yes)
        fail_file("token " + std::to_string(i) + " is longer than 65,535 bytes");
      const auto type = in_.token_types.empty() ? GgufTokenType::normal
                                                : static_cast<GgufTokenType>(in_.token_types[static_cast<size_t>(i)]);
      const bool special = is_gguf_special(type);
      if (special || type == GgufTokenType::user_defined)
        added_.push_back({.content = std::string(text), .id = static_cast<int32_t>(i), .special = special});
    }
    parts_->vocabulary.shrink();
  }

  bool make_bpe() {
    const GgufSplitting& splitting = gguf_splitting(in_, source_);
    BpeModel model;
    model.ignore_merges = splitting.ignore_merges;
    model.bytes_in = true;
    read_merges(model.merges);
    model.prepare(parts_->vocabulary);
    parts_->model = std::move(model);
    if (splitting.nfc) parts_->normalizer = {{.kind = NormalizerStep::Kind::nfc}};
    parts_->pre_tokenizer = make_byte_level_splits({splitting.regexes.begin(), splitting.regexes.end()}, source_);
    parts_->decoder = {{{.kind = DecoderStep::Kind::byte_level}}, true};
    return splitting.add_bos;
  }

  void read_merges(MergeTable& merges) const {
    if (in_.merges.count < 0 || in_.merges.count > kMaxTokenId + 1)
      fail_file("tokenizer.ggml.merges has " + std::to_string(in_.merges.count) + " merges");
    merges.reserve(static_cast<size_t>(in_.merges.count));
    std::string joined;
    for (int64_t rank = 0; rank < in_.merges.count; ++rank) {
      const std::string_view merge = in_.merges.at(rank);
      const size_t space = merge.find(' ', 1);
      if (space == std::string_view::npos) fail_file("merge " + std::to_string(rank) + " is not two tokens");
      const std::string_view left = merge.substr(0, space), right = merge.substr(space + 1);
      joined.assign(left).append(right);
      const int32_t left_id = parts_->vocabulary.find(left), right_id = parts_->vocabulary.find(right),
                    id = parts_->vocabulary.find(joined);
      if (left_id == kNoToken || right_id == kNoToken || id == kNoToken)
        fail_file("merge " + std::to_string(rank) + " needs a token that the vocabulary does not have");
      merges.add(left_id, right_id, static_cast<uint32_t>(rank), id);
    }
  }

  bool make_spm() {
    SpmModel model;
    if (static_cast<int64_t>(in_.scores.size()) != in_.tokens.count)
      fail_file("tokenizer.ggml.scores has another length than tokens");
    model.scores.assign(in_.scores.begin(), in_.scores.end());
    for (const float score : model.scores) {
      if (std::isnan(score)) fail_file("tokenizer.ggml.scores holds a NaN");
    }
    model.unk_id = parts_->special.unk;
    model.prepare(parts_->vocabulary);
    parts_->model = std::move(model);
    const bool prefix = in_.add_space_prefix.value_or(true);
    if (prefix) parts_->normalizer.push_back({.kind = NormalizerStep::Kind::prepend, .text = std::string(kSpace)});
    parts_->normalizer.push_back({.kind = NormalizerStep::Kind::replace, .text = std::string(kSpace), .literal = " "});
    const auto spaces = std::make_shared<Regex>(Regex::literal(kSpace, source_));
    auto& steps = parts_->decoder.steps;
    steps = {{.kind = DecoderStep::Kind::replace, .text = " ", .regex = spaces},
             {.kind = DecoderStep::Kind::byte_fallback},
             {.kind = DecoderStep::Kind::fuse}};
    if (prefix) steps.push_back({.kind = DecoderStep::Kind::strip, .text = " ", .start = 1});
    parts_->decoder.present = true;
    return true;
  }

  const GgufVocabulary& in_;
  std::string_view source_;
  std::unique_ptr<TokenizerParts> parts_;
  std::vector<AddedToken> added_;
};

}  // namespace

SpecialIds gguf_special_ids(const GgufVocabulary& vocabulary, std::string_view source) {
  if (vocabulary.model != "gpt2" && vocabulary.model != "llama") {
    throw caller_error(std::string(source), "tokenizer.ggml.model is \"" + vocabulary.model + "\"",
                       "use a model whose tokenizer is gpt2 or llama");
  }
  const auto fail = [&](const std::string& problem) {
    return caller_error(std::string(source), problem, "convert or download the file again");
  };
  const int64_t count = vocabulary.tokens.count;
  if (count <= 0 || count > kMaxTokenId + 1)
    throw fail("tokenizer.ggml.tokens has " + std::to_string(count) + " tokens");
  const auto pick = [&](std::optional<int64_t> given, int32_t usual, const char* name) {
    if (vocabulary.model != "llama" || usual >= count) usual = kNoToken;
    const int64_t id = given.value_or(usual);
    if (id >= count || id < kNoToken) {
      throw fail(std::string("tokenizer.ggml.") + name + "_token_id " + std::to_string(id) +
                 " is not in the vocabulary");
    }
    return static_cast<int32_t>(id);
  };
  return {pick(vocabulary.bos_id, 1, "bos"), pick(vocabulary.eos_id, 2, "eos"),
          pick(vocabulary.pad_id, kNoToken, "padding"), pick(vocabulary.unk_id, 0, "unknown")};
}

Tokenizer load_tokenizer_gguf(const GgufVocabulary& vocabulary, std::string_view source) {
  return Loader(vocabulary, source).run();
}

}  // namespace plimsoll
