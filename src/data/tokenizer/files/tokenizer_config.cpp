#include <charconv>

#include "base/error.h"
#include "data/tokenizer/files/json_reader.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/unicode.h"

namespace plimsoll {
namespace {

using tokenizer::JsonReader;

// A token is written as its text or as an object with its flags.
void read_token(JsonReader& reader, std::string& out) {
  if (reader.peek() == JsonReader::Kind::string) {
    reader.read_string(out);
  } else if (reader.peek() == JsonReader::Kind::object) {
    std::string key;
    reader.begin_object();
    while (reader.next_key(key)) {
      if (key == "content") reader.read_string(out);
      else reader.skip_value();
    }
  } else {
    reader.skip_value();
  }
}

void read_added_tokens(JsonReader& reader, std::vector<TokenizerConfig::Added>& out) {
  std::string id, key;
  reader.begin_object();
  while (reader.next_key(id)) {
    TokenizerConfig::Added token{-1, "", false, false, false, false, false};
    std::optional<bool> normalized;
    const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), token.id);
    if (error != std::errc() || end != id.data() + id.size())
      reader.fail("added_tokens_decoder: \"" + id.substr(0, 100) + "\" is not an id");
    reader.begin_object();
    while (reader.next_key(key)) {
      if (key == "content") reader.read_string(token.content);
      else if (key == "special") token.special = reader.read_bool();
      else if (key == "lstrip") token.lstrip = reader.read_bool();
      else if (key == "rstrip") token.rstrip = reader.read_bool();
      else if (key == "single_word") token.single_word = reader.read_bool();
      else if (key == "normalized") normalized = reader.read_bool();
      else reader.skip_value();
    }
    token.normalized = normalized.value_or(!token.special);
    out.push_back(std::move(token));
  }
}

void read_optional_bool(JsonReader& reader, std::optional<bool>& out) {
  if (reader.peek() == JsonReader::Kind::boolean) out = reader.read_bool();
  else reader.skip_value();
}

}  // namespace

TokenizerConfig parse_tokenizer_config(std::string_view json, std::string_view source) {
  if (tokenizer::valid_utf8_prefix(json) != json.size())
    throw caller_error(std::string(source), "is not UTF-8", "use the model's own tokenizer_config.json");
  TokenizerConfig config;
  JsonReader reader(json, source);
  std::string key;
  reader.begin_object();
  while (reader.next_key(key)) {
    if (key == "bos_token") read_token(reader, config.bos_token);
    else if (key == "eos_token") read_token(reader, config.eos_token);
    else if (key == "pad_token") read_token(reader, config.pad_token);
    else if (key == "unk_token") read_token(reader, config.unk_token);
    else if (key == "add_bos_token") read_optional_bool(reader, config.add_bos_token);
    else if (key == "add_eos_token") read_optional_bool(reader, config.add_eos_token);
    else if (key == "legacy") read_optional_bool(reader, config.legacy);
    else if (key == "added_tokens_decoder" && reader.peek() == JsonReader::Kind::object)
      read_added_tokens(reader, config.added_tokens);
    else reader.skip_value();
  }
  reader.expect_end();
  return config;
}

}  // namespace plimsoll
