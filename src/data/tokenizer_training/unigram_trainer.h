// SentencePiece's own trainer; its headers stay behind this one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace plimsoll::tokenizer {

// The bytes of a SentencePiece file. Lines are trained on one by one; those longer than 4 KiB are cut between words.
// Throws a caller Error where `vocab_size` is too small for the characters of the text.
std::string train_unigram(std::vector<std::string> lines, const std::vector<std::string>& special, int64_t vocab_size,
                          int threads);

}  // namespace plimsoll::tokenizer
