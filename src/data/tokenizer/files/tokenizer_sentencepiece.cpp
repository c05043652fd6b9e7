// A tokenizer out of a SentencePiece file: its pieces as vocabulary, its library for the ids, its control pieces and
// those of tokenizer_config.json as special tokens.
#include "base/error.h"
#include "data/tokenizer/tokenizer_parts.h"
#include "data/tokenizer/unicode.h"

namespace plimsoll {
namespace {

using namespace tokenizer;  // NOLINT

using PieceType = SentencePieceModel::PieceType;

constexpr std::string_view kSpace = "\xe2\x96\x81";

void read_pieces(const SentencePieceModel& model, std::string_view source, Vocabulary& vocabulary,
                 std::vector<AddedToken>& added) {
  if (model.size() > kMaxTokenId)
    throw caller_error(std::string(source), "has " + std::to_string(model.size()) + " pieces", "use a smaller model");
  vocabulary.reserve(static_cast<size_t>(model.size()), 0);
  for (int32_t id = 0; id < model.size(); ++id) {
    const std::string text = model.piece(id);
    if (valid_utf8_prefix(text) != text.size() || vocabulary.add(text, id) != Vocabulary::Added::yes)
      throw caller_error(std::string(source), "piece " + std::to_string(id) + " is not UTF-8 or too long",
                         "use the model's own file");
    const PieceType type = model.type(id);
    if ((type == PieceType::control || type == PieceType::unknown) && !text.empty())
      added.push_back({.content = text, .id = id, .special = true});
  }
  vocabulary.shrink();
}

// Tokens of tokenizer_config.json come after the pieces, or give a piece other flags.
void read_added(const TokenizerConfig& config, std::vector<AddedToken>& added) {
  for (const TokenizerConfig::Added& token : config.added_tokens) {
    if (token.id < 0 || token.id > kMaxTokenId || token.content.empty()) continue;
    const AddedToken with_flags{
        token.content,   static_cast<int32_t>(token.id), token.special, token.lstrip, token.rstrip, token.single_word,
        token.normalized};
    const auto known =
        std::find_if(added.begin(), added.end(), [&](const AddedToken& other) { return other.id == token.id; });
    if (known != added.end()) *known = with_flags;
    else added.push_back(with_flags);
  }
}

Decoder piece_decoder(bool adds_space, std::string_view source) {
  Decoder decoder;
  decoder.present = true;
  decoder.steps = {{.kind = DecoderStep::Kind::replace,
                    .text = " ",
                    .regex = std::make_shared<Regex>(Regex::literal(kSpace, source))},
                   {.kind = DecoderStep::Kind::byte_fallback},
                   {.kind = DecoderStep::Kind::fuse}};
  if (adds_space) decoder.steps.push_back({.kind = DecoderStep::Kind::strip, .text = " ", .start = 1});
  return decoder;
}

}  // namespace

Tokenizer load_tokenizer_sentencepiece(std::string_view bytes, std::string_view source, const TokenizerConfig* config) {
  auto parts = std::make_unique<TokenizerParts>();
  SentencePieceModel model = SentencePieceModel::load(bytes, source);
  std::vector<AddedToken> added;
  read_pieces(model, source, parts->vocabulary, added);
  if (config != nullptr) read_added(*config, added);
  const auto id_of = [&](const std::string& named, std::string_view usual) {
    const std::string_view text = named.empty() ? usual : named;
    for (const AddedToken& token : added)
      if (token.content == text) return token.id;
    return named.empty() ? kNoToken : parts->vocabulary.find(named);
  };
  const TokenizerConfig none;
  const TokenizerConfig& names = config != nullptr ? *config : none;
  parts->special = {id_of(names.bos_token, "<s>"), id_of(names.eos_token, "</s>"), id_of(names.pad_token, "<pad>"),
                    id_of(names.unk_token, "<unk>")};
  parts->decoder = piece_decoder(model.adds_space(), source);
  if (names.legacy.value_or(false)) model.continued = nullptr;
  parts->added = build_added_tokens(std::move(added), parts->normalizer, source);
  parts->post_processor =
      surround_with(parts->special, names.add_bos_token.value_or(false), names.add_eos_token.value_or(false), source);
  parts->model = std::move(model);
  return Tokenizer(std::move(parts));
}

}  // namespace plimsoll
