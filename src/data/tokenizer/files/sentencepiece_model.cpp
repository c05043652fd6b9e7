#include "data/tokenizer/files/sentencepiece_model.h"

#include <sentencepiece_processor.h>

#include "base/error.h"
#include "data/tokenizer/files/sentencepiece_check.h"
#include "data/tokenizer/unicode.h"

namespace plimsoll::tokenizer {
namespace {

constexpr std::string_view kSpace = "\xe2\x96\x81";  // ▁, SentencePiece's space

// Protocol buffers merge: a field that comes again overrides. This is normalizer_spec { add_dummy_prefix: false } of
// sentencepiece_model.proto.
constexpr std::string_view kNoSpaceBefore("\x1a\x02\x18\x00", 4);

std::shared_ptr<sentencepiece::SentencePieceProcessor> parse(std::string_view bytes, std::string_view source) {
  auto processor = std::make_shared<sentencepiece::SentencePieceProcessor>();
  if (!character_maps_are_sound(bytes) || !processor->LoadFromSerializedProto({bytes.data(), bytes.size()}).ok() ||
      processor->GetPieceSize() <= 0)
    throw caller_error(std::string(source), "is no SentencePiece model",
                       "use the model's own tokenizer.model, or a tokenizer.json");
  return processor;
}

}  // namespace

SentencePieceModel SentencePieceModel::load(std::string_view bytes, std::string_view source) {
  SentencePieceModel model;
  model.processor = parse(bytes, source);
  model.file_bytes = static_cast<int64_t>(bytes.size());
  std::vector<std::string> pieces;
  (void)model.processor->Encode("a", &pieces);
  if (!pieces.empty() && pieces[0].starts_with(kSpace))
    model.continued = parse(std::string(bytes).append(kNoSpaceBefore), source);
  return model;
}

int32_t SentencePieceModel::size() const { return processor->GetPieceSize(); }

std::string SentencePieceModel::piece(int32_t id) const { return processor->IdToPiece(id); }

float SentencePieceModel::score(int32_t id) const { return processor->GetScore(id); }

SentencePieceModel::PieceType SentencePieceModel::type(int32_t id) const {
  if (processor->IsControl(id)) return PieceType::control;
  if (processor->IsUnknown(id)) return PieceType::unknown;
  if (processor->IsByte(id)) return PieceType::byte;
  if (processor->IsUnused(id)) return PieceType::unused;
  return PieceType::normal;
}

void SentencePieceModel::encode(std::string_view text, bool at_start, std::vector<int32_t>& out) const {
  std::vector<int> ids;
  const auto& chosen = at_start || continued == nullptr ? processor : continued;
  const auto status = chosen->Encode({text.data(), text.size()}, &ids);
  PLIMSOLL_CHECK(status.ok(), "SentencePiece could not encode: " + status.ToString());
  out.insert(out.end(), ids.begin(), ids.end());
}

}  // namespace plimsoll::tokenizer
