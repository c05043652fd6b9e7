// tokenizer.json (https://github.com/huggingface/tokenizers). The vocabulary and the merges are read element by element
// straight into their tables; only the small sections become JSON trees.
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <unordered_set>

#include "base/error.h"
#include "data/tokenizer/files/json_reader.h"
#include "data/tokenizer/tokenizer_parts.h"
#include "data/tokenizer/unicode.h"

namespace plimsoll {
namespace tokenizer {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 30;

size_t count_elements(std::string_view container, std::string_view source) {
  JsonReader reader(container, source);
  std::string key;
  size_t count = 0;
  if (reader.peek() == JsonReader::Kind::object) {
    reader.begin_object();
    for (; reader.next_key(key); ++count) reader.skip_value();
  } else {
    reader.begin_array();
    for (; reader.next_element(); ++count) reader.skip_value();
  }
  return count;
}

void add_token(Vocabulary& vocabulary, const std::string& text, int64_t id, const JsonReader& reader) {
  if (id < 0 || id > kMaxTokenId)
    reader.fail("the token \"" + text.substr(0, 100) + "\" has the id " + std::to_string(id));
  switch (vocabulary.add(text, static_cast<int32_t>(id))) {
    case Vocabulary::Added::yes:
      return;
    case Vocabulary::Added::id_taken:
      reader.fail("the id " + std::to_string(id) + " belongs to \"" +
                  std::string(vocabulary.text(static_cast<int32_t>(id))) + "\" and to \"" + text.substr(0, 100) + "\"");
    case Vocabulary::Added::too_long:
      reader.fail("a token is longer than 65,535 bytes, or all together longer than 1 GiB");
  }
}

// The members of "model", in whatever order they stand. Vocabulary and merges are kept as text until the rest is known.
struct ModelFields {
  std::string type, unk_token, continuing_prefix, end_of_word_suffix;
  int64_t unk_id = -1;
  bool fuse_unk = false, byte_fallback = false, ignore_merges = false;
  std::string_view vocabulary, merges;
};

ModelFields read_model_fields(std::string_view json, std::string_view source) {
  JsonReader reader(json, source);
  ModelFields fields;
  std::string key;
  reader.begin_object();
  while (reader.next_key(key)) {
    if (key == "vocab") {
      fields.vocabulary = reader.skip_value();
    } else if (key == "merges") {
      fields.merges = reader.skip_value();
    } else if (reader.peek() == JsonReader::Kind::null) {
      reader.read_null();
    } else if (key == "type") {
      reader.read_string(fields.type);
    } else if (key == "unk_token") {
      reader.read_string(fields.unk_token);
    } else if (key == "continuing_subword_prefix") {
      reader.read_string(fields.continuing_prefix);
    } else if (key == "end_of_word_suffix") {
      reader.read_string(fields.end_of_word_suffix);
    } else if (key == "unk_id") {
      fields.unk_id = reader.read_int();
    } else if (key == "fuse_unk") {
      fields.fuse_unk = reader.read_bool();
    } else if (key == "byte_fallback") {
      fields.byte_fallback = reader.read_bool();
    } else if (key == "ignore_merges") {
      fields.ignore_merges = reader.read_bool();
    } else {
      reader.skip_value();  // dropout is for training tokenizers
    }
  }
  if (fields.vocabulary.empty()) reader.fail("the model has no vocab");
  if (fields.type.empty()) fields.type = fields.vocabulary.front() == '[' ? "Unigram" : "BPE";  // files of old versions
  return fields;
}

void read_bpe_vocabulary(std::string_view json, std::string_view source, Vocabulary& vocabulary) {
  vocabulary.reserve(count_elements(json, source), json.size());
  JsonReader reader(json, source);
  std::string token;
  reader.begin_object();
  while (reader.next_key(token)) add_token(vocabulary, token, reader.read_int(), reader);
  vocabulary.shrink();
}

// "a b" or ["a", "b"].
void read_merge(JsonReader& reader, std::string& left, std::string& right) {
  if (reader.peek() == JsonReader::Kind::string) {
    reader.read_string(left);
    const size_t space = left.find(' ');
    if (space == std::string::npos || left.find(' ', space + 1) != std::string::npos)
      reader.fail("the merge \"" + left.substr(0, 100) + "\" is not two tokens");
    right = left.substr(space + 1);
    left.resize(space);
    return;
  }
  reader.begin_array();
  if (!reader.next_element()) reader.fail("a merge is empty");
  reader.read_string(left);
  if (!reader.next_element()) reader.fail("a merge has one token");
  reader.read_string(right);
  if (reader.next_element()) reader.fail("a merge has more than two tokens");
}

void read_merges(std::string_view json, std::string_view source, const Vocabulary& vocabulary, BpeModel& model) {
  if (json.empty()) json = "[]";
  model.merges.reserve(count_elements(json, source));
  JsonReader reader(json, source);
  std::string left, right;
  reader.begin_array();
  for (uint32_t rank = 0; reader.next_element(); ++rank) {
    read_merge(reader, left, right);
    const auto id_of = [&](const std::string& token) {
      const int32_t id = vocabulary.find(token);
      if (id == kNoToken)
        reader.fail("merge " + std::to_string(rank) + " needs the token \"" + token.substr(0, 100) +
                    "\", which the vocab does not have");
      return id;
    };
    const int32_t left_id = id_of(left), right_id = id_of(right);
    if (right.size() < model.continuing_prefix.size())
      reader.fail("merge " + std::to_string(rank) + " lacks the continuing_subword_prefix");
    model.merges.add(left_id, right_id, rank, id_of(left + right.substr(model.continuing_prefix.size())));
  }
}

BpeModel read_bpe(const ModelFields& fields, std::string_view source, Vocabulary& vocabulary) {
  BpeModel model;
  if (fields.vocabulary.front() != '{')
    throw caller_error(std::string(source), "the vocab of a BPE model is not an object",
                       "use a tokenizer.json as the tokenizers library writes it");
  read_bpe_vocabulary(fields.vocabulary, source, vocabulary);
  model.continuing_prefix = fields.continuing_prefix;
  model.end_of_word_suffix = fields.end_of_word_suffix;
  model.fuse_unk = fields.fuse_unk;
  model.byte_fallback = fields.byte_fallback;
  model.ignore_merges = fields.ignore_merges;
  if (!fields.unk_token.empty()) {
    model.unk_id = vocabulary.find(fields.unk_token);
    if (model.unk_id == kNoToken)
      throw caller_error(std::string(source), "the unk_token \"" + fields.unk_token + "\" is not in the vocab",
                         "correct unk_token");
  }
  read_merges(fields.merges, source, vocabulary, model);
  return model;
}

UnigramModel read_unigram(const ModelFields& fields, std::string_view source, Vocabulary& vocabulary) {
  UnigramModel model;
  const size_t count = count_elements(fields.vocabulary, source);
  vocabulary.reserve(count, fields.vocabulary.size());
  model.scores.reserve(count);
  JsonReader reader(fields.vocabulary, source);
  std::string token;
  reader.begin_array();
  while (reader.next_element()) {
    reader.begin_array();
    if (!reader.next_element()) reader.fail("a vocab entry is empty");
    reader.read_string(token);
    if (!reader.next_element()) reader.fail("a vocab entry has no score");
    add_token(vocabulary, token, static_cast<int64_t>(model.scores.size()), reader);
    model.scores.push_back(reader.read_number());
    if (!std::isfinite(model.scores.back())) reader.fail("a score is not finite");
    if (reader.next_element()) reader.fail("a vocab entry has more than a token and a score");
  }
  vocabulary.shrink();
  model.byte_fallback = fields.byte_fallback;
  if (fields.unk_id >= 0) {
    if (fields.unk_id >= static_cast<int64_t>(count))
      reader.fail("the unk_id " + std::to_string(fields.unk_id) + " is not in the vocab");
    model.unk_id = static_cast<int32_t>(fields.unk_id);
  }
  model.prepare(vocabulary, source);
  return model;
}

struct RawAdded {
  AddedToken token;
  int64_t id = -1;
};

std::vector<RawAdded> read_added_tokens(std::string_view json, std::string_view source) {
  std::vector<RawAdded> out;
  JsonReader reader(json, source);
  if (reader.peek() == JsonReader::Kind::null) return out;
  std::string key;
  reader.begin_array();
  while (reader.next_element()) {
    RawAdded raw;
    std::optional<bool> normalized;
    reader.begin_object();
    while (reader.next_key(key)) {
      if (key == "id") raw.id = reader.read_int();
      else if (key == "content") reader.read_string(raw.token.content);
      else if (key == "special") raw.token.special = reader.read_bool();
      else if (key == "lstrip") raw.token.lstrip = reader.read_bool();
      else if (key == "rstrip") raw.token.rstrip = reader.read_bool();
      else if (key == "single_word") raw.token.single_word = reader.read_bool();
      else if (key == "normalized") normalized = reader.read_bool();
      else reader.skip_value();
    }
    raw.token.normalized = normalized.value_or(!raw.token.special);
    out.push_back(std::move(raw));
  }
  return out;
}

// Ids of added tokens: the vocabulary's where it has the text, else the one stated, which must be free. A later token
// of the same text takes the place of an earlier one, so that tokenizer_config.json can override.
std::vector<AddedToken> resolve_added(std::vector<RawAdded> raw, const Vocabulary& vocabulary,
                                      std::string_view source) {
  std::vector<AddedToken> out;
  std::unordered_map<std::string, size_t> by_content;
  std::unordered_set<int32_t> ids;
  for (RawAdded& one : raw) {
    if (one.token.content.empty()) continue;
    const int32_t known = vocabulary.find(one.token.content);
    const int64_t id = known != kNoToken ? known : one.id;
    const auto refuse = [&](const std::string& why) {
      throw caller_error(
          std::string(source),
          "the added token \"" + one.token.content.substr(0, 100) + "\" has the id " + std::to_string(id) + why,
          "correct added_tokens");
    };
    if (id < 0 || id > kMaxTokenId) refuse(", which is out of range");
    one.token.id = static_cast<int32_t>(id);
    const auto [place, fresh] = by_content.try_emplace(one.token.content, out.size());
    if (!fresh) {
      if (out[place->second].id != one.token.id) refuse(" and the id " + std::to_string(out[place->second].id));
      out[place->second] = std::move(one.token);
      continue;
    }
    if ((known == kNoToken && vocabulary.has(one.token.id)) || !ids.insert(one.token.id).second)
      refuse(", which is another token's");
    out.push_back(std::move(one.token));
  }
  return out;
}

nlohmann::json parse_section(std::string_view json, std::string_view source, const char* name) {
  if (json.size() > kMaxSectionBytes)
    throw caller_error(std::string(source), std::string(name) + " has " + std::to_string(json.size()) + " bytes",
                       "the limit is 8 MiB");
  if (json.empty()) return nullptr;
  try {
    return nlohmann::json::parse(json);
  } catch (const nlohmann::json::exception& error) {
    throw caller_error(std::string(source), std::string(name) + " is not JSON: " + error.what(),
                       "use a tokenizer.json as the tokenizers library writes it");
  }
}

struct TopLevel {
  std::string_view model, added_tokens = "[]", normalizer, pre_tokenizer, post_processor, decoder;
};

TopLevel read_top_level(std::string_view json, std::string_view source) {
  TopLevel top;
  JsonReader reader(json, source);
  std::string key;
  reader.begin_object();
  while (reader.next_key(key)) {
    const std::string_view value = reader.skip_value();
    if (key == "model") top.model = value;
    else if (key == "added_tokens") top.added_tokens = value;
    else if (key == "normalizer") top.normalizer = value;
    else if (key == "pre_tokenizer") top.pre_tokenizer = value;
    else if (key == "post_processor") top.post_processor = value;
    else if (key == "decoder") top.decoder = value;
  }
  reader.expect_end();
  if (top.model.empty()) reader.fail("there is no model");
  return top;
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) {
    if (errno == ENOENT)
      throw caller_error(path, "there is no such file", "give the folder of a model with its tokenizer.json");
    throw world_error(path, "the file cannot be opened", "check its permissions", errno);
  }
  const auto size = static_cast<int64_t>(file.tellg());
  if (size < 0 || size > kMaxFileBytes)
    throw caller_error(path, "is not a file of at most 1 GiB", "give a tokenizer.json");
  std::string bytes(static_cast<size_t>(size), '\0');
  file.seekg(0);
  if (!file.read(bytes.data(), size))
    throw world_error(path, "the file cannot be read to its end", "check the disk", errno);
  return bytes;
}

}  // namespace
}  // namespace tokenizer

using namespace tokenizer;  // NOLINT: this file implements both

Tokenizer load_tokenizer_json(std::string_view json, std::string_view source, const TokenizerConfig* config) {
  if (valid_utf8_prefix(json) != json.size()) {
    throw caller_error(std::string(source), "is not UTF-8 at byte " + std::to_string(valid_utf8_prefix(json)),
                       "use a tokenizer.json as the tokenizers library writes it");
  }
  const TopLevel top = read_top_level(json, source);
  auto parts = std::make_unique<TokenizerParts>();
  const auto with_section = [&](std::string_view text, const char* name, auto&& parse) {
    const nlohmann::json tree = parse_section(text, source, name);
    return parse(JsonSection{tree, source, name});
  };
  parts->normalizer = with_section(top.normalizer, "normalizer", parse_normalizer);
  parts->pre_tokenizer = with_section(top.pre_tokenizer, "pre_tokenizer", parse_pre_tokenizer);
  parts->decoder = with_section(top.decoder, "decoder", parse_decoder);

  const ModelFields fields = read_model_fields(top.model, source);
  if (fields.type == "BPE") {
    BpeModel model = read_bpe(fields, source, parts->vocabulary);
    model.bytes_in = parts->pre_tokenizer.bytes_out;
    model.prepare(parts->vocabulary);
    parts->special.unk = model.unk_id;
    parts->model = std::move(model);
  } else if (fields.type == "Unigram") {
    if (parts->pre_tokenizer.bytes_out)
      throw caller_error(std::string(source), "a Unigram model after ByteLevel is not supported",
                         "use a tokenizer.json of a published language model");
    UnigramModel model = read_unigram(fields, source, parts->vocabulary);
    parts->special.unk = model.unk_id;
    parts->model = std::move(model);
  } else {
    throw caller_error(std::string(source), "the model type \"" + fields.type + "\" is not supported",
                       "use a tokenizer of type BPE or Unigram");
  }

  std::vector<RawAdded> added = read_added_tokens(top.added_tokens, source);
  if (config != nullptr) {
    for (const TokenizerConfig::Added& one : config->added_tokens) {
      added.push_back(
          {{one.content, -1, one.special, one.lstrip, one.rstrip, one.single_word, one.normalized}, one.id});
    }
  }
  parts->added =
      build_added_tokens(resolve_added(std::move(added), parts->vocabulary, source), parts->normalizer, source);
  const int32_t end_id = std::max(parts->vocabulary.end_id(), parts->added.end_id());
  parts->post_processor = with_section(top.post_processor, "post_processor", [&](const JsonSection& section) {
    return parse_post_processor(section, end_id);
  });

  if (config != nullptr) {
    const auto id_of = [&](const std::string& text, int32_t fallback) {
      if (text.empty()) return fallback;
      const AddedToken* token = parts->added.find(text);
      return token != nullptr ? token->id : parts->vocabulary.find(text);
    };
    parts->special = {id_of(config->bos_token, -1), id_of(config->eos_token, -1), id_of(config->pad_token, -1),
                      id_of(config->unk_token, parts->special.unk)};
  }
  return Tokenizer(std::move(parts));
}

Tokenizer load_tokenizer_file(const std::string& path) {
  const std::string bytes = read_file(path);
  const auto load = path.ends_with(".model") ? load_tokenizer_sentencepiece : load_tokenizer_json;
  const std::string config_path = path.substr(0, path.find_last_of('/') + 1) + "tokenizer_config.json";
  if (!std::ifstream(config_path)) return load(bytes, path, nullptr);
  const TokenizerConfig config = parse_tokenizer_config(read_file(config_path), config_path);
  return load(bytes, path, &config);
}

}  // namespace plimsoll
