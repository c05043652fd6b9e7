// A SentencePiece model (tokenizer.model, spiece.model: Kudo & Richardson 2018, arXiv:1808.06226) through
// SentencePiece's own library, which normalises, splits and looks up. Its headers and memory stay behind this one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace plimsoll::tokenizer {

struct SentencePieceModel {
  enum class PieceType { normal, control, unknown, byte, unused };

  // `bytes`: the file. Throws a caller Error that names `source` for what is no such model.
  static SentencePieceModel load(std::string_view bytes, std::string_view source);

  int32_t size() const;
  std::string piece(int32_t id) const;  // its text; throws a caller Error where the file's is not UTF-8
  PieceType type(int32_t id) const;
  float score(int32_t id) const;                            // log probability, or the merge's rank with the sign turned
  bool adds_space() const { return continued != nullptr; }  // before a text

  // `at_start` false: the text follows a special token, and gets no space before it where the model would add one.
  // Safe from any number of threads.
  void encode(std::string_view text, bool at_start, std::vector<int32_t>& out) const;

  std::shared_ptr<const sentencepiece::SentencePieceProcessor> processor;
  std::shared_ptr<const sentencepiece::SentencePieceProcessor>
      continued;  // the same without the space; null: adds none
  int64_t file_bytes = 0;
};

}  // namespace plimsoll::tokenizer
