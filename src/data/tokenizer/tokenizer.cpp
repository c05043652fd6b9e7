#include "data/tokenizer/tokenizer.h"

#include "base/error.h"
#include "data/tokenizer/tokenizer_parts.h"
#include "data/tokenizer/unicode.h"

namespace plimsoll {
namespace tokenizer {
namespace {

constexpr size_t kKeptBufferBytes = size_t{1} << 20;

template <typename Buffer>
void release_if_large(Buffer& buffer) {
  if (buffer.capacity() * sizeof(buffer[0]) > kKeptBufferBytes) Buffer().swap(buffer);
}

class ModelSink final : public PieceSink {
 public:
  ModelSink(const TokenizerParts& parts, EncodeScratch& scratch, std::vector<int32_t>& ids)
      : parts_(parts), scratch_(scratch), ids_(ids) {}

  void at_start(bool value) { at_start_ = value; }  // of the whole text

  void piece(std::string_view text) override {
    if (const auto* bpe = std::get_if<BpeModel>(&parts_.model)) {
      bpe->encode(parts_.vocabulary, text, scratch_.bpe, ids_);
    } else if (const auto* unigram = std::get_if<UnigramModel>(&parts_.model)) {
      unigram->encode(parts_.vocabulary, text, scratch_.unigram, ids_);
    } else if (const auto* spm = std::get_if<SpmModel>(&parts_.model)) {
      spm->encode(parts_.vocabulary, text, scratch_.spm, ids_);
    } else {
      std::get<SentencePieceModel>(parts_.model).encode(text, at_start_, ids_);
    }
  }

 private:
  const TokenizerParts& parts_;
  EncodeScratch& scratch_;
  std::vector<int32_t>& ids_;
  bool at_start_ = true;
};

}  // namespace

AddedTokens build_added_tokens(std::vector<AddedToken> tokens, const Normalizer& normalizer, std::string_view source) {
  NormalizerScratch scratch;
  RegexScratch regex;
  std::vector<std::string> normalized(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i].normalized) normalized[i] = normalize(normalizer, tokens[i].content, scratch, regex);
  }
  return AddedTokens(std::move(tokens), normalized, source);
}

void EncodeScratch::release_large() {
  release_if_large(normalizer.front);
  release_if_large(normalizer.back);
  for (std::string& buffer : pre_tokenizer.buffers) release_if_large(buffer);
  release_if_large(bpe.ids);
  release_if_large(bpe.symbols);
  release_if_large(bpe.heap);
  release_if_large(bpe.chars);
  release_if_large(unigram.nodes);
  release_if_large(unigram.spans);
  release_if_large(spm.symbols);
  release_if_large(spm.heap);
}

std::unique_ptr<EncodeScratch> ScratchPool::take() {
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      auto scratch = std::move(free_.back());
      free_.pop_back();
      return scratch;
    }
    free_.reserve(Tokenizer::kKeptScratches);
  }
  return std::make_unique<EncodeScratch>();
}

void ScratchPool::give(std::unique_ptr<EncodeScratch> scratch) noexcept {
  scratch->release_large();
  const std::lock_guard lock(mutex_);
  if (free_.size() < Tokenizer::kKeptScratches) free_.push_back(std::move(scratch));
}

}  // namespace tokenizer

using tokenizer::AddedToken;
using tokenizer::TemplatePiece;

Tokenizer::Tokenizer(std::unique_ptr<const tokenizer::TokenizerParts> parts)
    : parts_(std::move(parts)), scratches_(std::make_unique<tokenizer::ScratchPool>()) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

void Tokenizer::encode_into(std::string_view text, SpecialText special_text, std::vector<int32_t>& ids) const {
  const bool special_as_text = special_text == SpecialText::plain;
  if (text.size() > kMaxTextBytes) {
    throw caller_error("text", "has " + std::to_string(text.size()) + " bytes",
                       "split it: the limit for one text is 1 GiB");
  }
  std::string repaired;
  if (tokenizer::valid_utf8_prefix(text) != text.size()) text = repaired = tokenizer::to_valid_utf8(text);
  std::unique_ptr<tokenizer::EncodeScratch> scratch = scratches_->take();
  tokenizer::ModelSink sink(*parts_, *scratch, ids);
  parts_->added.split(text, false, special_as_text, [&](size_t begin, size_t end, const AddedToken* token) {
    if (token != nullptr) {
      ids.push_back(token->id);
      return;
    }
    const std::string_view segment =
        normalize(parts_->normalizer, text.substr(begin, end - begin), scratch->normalizer, scratch->regex);
    parts_->added.split(segment, true, special_as_text, [&](size_t first, size_t last, const AddedToken* inner) {
      if (inner != nullptr) {
        ids.push_back(inner->id);
        return;
      }
      sink.at_start(begin == 0 && first == 0);
      pre_tokenize(parts_->pre_tokenizer, segment.substr(first, last - first), begin == 0 && first == 0,
                   scratch->pre_tokenizer, scratch->regex, sink);
    });
  });
  scratches_->give(std::move(scratch));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special, SpecialText special_text) const {
  std::vector<int32_t> ids;
  for (const TemplatePiece& piece : parts_->post_processor.single) {
    if (piece.id == TemplatePiece::kFirst) encode_into(text, special_text, ids);
    else if (piece.id >= 0 && add_special) ids.push_back(piece.id);
  }
  return ids;
}

PairEncoding Tokenizer::encode_pair(std::string_view first, std::string_view second, bool add_special) const {
  PairEncoding out;
  for (const TemplatePiece& piece : parts_->post_processor.pair) {
    if (piece.id < 0) encode_into(piece.id == TemplatePiece::kFirst ? first : second, SpecialText::token, out.ids);
    else if (add_special) out.ids.push_back(piece.id);
    out.type_ids.resize(out.ids.size(), piece.type_id);
  }
  return out;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const int32_t id : ids) {
    const AddedToken* added = parts_->added.find(id);
    if (added == nullptr && !parts_->vocabulary.has(id)) continue;
    const std::string_view text =
        added != nullptr ? parts_->added.decoded_text(*added, skip_special) : parts_->vocabulary.text(id);
    if (added != nullptr && text.empty()) continue;
    tokens.emplace_back(text);
  }
  return decode_tokens(parts_->decoder, std::move(tokens));
}

std::optional<int32_t> Tokenizer::id_of(std::string_view token) const {
  if (const AddedToken* added = parts_->added.find(token)) return added->id;
  const int32_t id = parts_->vocabulary.find(token);
  return id == tokenizer::kNoToken ? std::nullopt : std::optional(id);
}

std::string_view Tokenizer::token_text(int32_t id) const {
  const AddedToken* added = parts_->added.find(id);
  return added != nullptr ? std::string_view(added->content) : parts_->vocabulary.text(id);
}

bool Tokenizer::is_special(int32_t id) const {
  const AddedToken* added = parts_->added.find(id);
  return added != nullptr && added->special;
}

int32_t Tokenizer::vocab_size() const { return std::max(parts_->vocabulary.end_id(), parts_->added.end_id()); }

const SpecialIds& Tokenizer::special_ids() const { return parts_->special; }

int64_t Tokenizer::resident_bytes() const {
  int64_t bytes =
      static_cast<int64_t>(sizeof *parts_) + parts_->vocabulary.resident_bytes() + parts_->added.resident_bytes();
  if (const auto* bpe = std::get_if<tokenizer::BpeModel>(&parts_->model)) bytes += bpe->merges.resident_bytes();
  if (const auto* unigram = std::get_if<tokenizer::UnigramModel>(&parts_->model)) {
    bytes += unigram->trie.resident_bytes() + static_cast<int64_t>(8 * unigram->scores.capacity());
  }
  if (const auto* spm = std::get_if<tokenizer::SpmModel>(&parts_->model))
    bytes += static_cast<int64_t>(4 * spm->scores.capacity());
  // The library keeps the file's message, and hash tables and a trie of the pieces, twice where it adds a space.
  if (const auto* pieces = std::get_if<tokenizer::SentencePieceModel>(&parts_->model))
    bytes += (pieces->continued != nullptr ? 2 : 1) * (2 * pieces->file_bytes + 200 * pieces->size());
  return bytes;
}

}  // namespace plimsoll
