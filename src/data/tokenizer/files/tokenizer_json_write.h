// The tokenizer of a GGUF file as the files that the tokenizers and transformers libraries load
// (https://github.com/huggingface/tokenizers). They give the ids and texts that load_tokenizer_gguf gives.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "data/tokenizer/files/tokenizer_gguf.h"

namespace plimsoll {

// Takes the pieces of a text in order.
using TextSink = std::function<void(std::string_view)>;

// A whole tokenizer.json. Beside the vocabulary it takes about 20 bytes a token and the tokens' texts.
//
// "gpt2" is written as it is. "llama" has scores where tokenizer.json has merges: the merges are all ways to put a
// token together from two, best score first. That merges in the same order as long as the scores of tokens that merge
// differ, every character of theirs is a token, and no byte token (<0x41>) is a part of another; a vocabulary of which
// this is not true is refused. The equality is tested on random vocabularies, not proven.
//
// Throws a caller Error as load_tokenizer_gguf, and for a vocabulary that the format cannot express; what the sink got
// by then is to be thrown away.
void write_tokenizer_json(const GgufVocabulary& vocabulary, std::string_view source, const TextSink& out);

// tokenizer_config.json: the special tokens, the class that reads tokenizer.json, the length of the context (0: not
// known). The chat template is a file of its own, chat_template.jinja. Throws as write_tokenizer_json.
std::string write_tokenizer_config_json(const GgufVocabulary& vocabulary, std::string_view source,
                                        int64_t context_length);

}  // namespace plimsoll
