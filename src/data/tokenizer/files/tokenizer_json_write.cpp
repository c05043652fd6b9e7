#include "data/tokenizer/files/tokenizer_json_write.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data/tokenizer/spm.h"
#include "data/tokenizer/unicode.h"
#include "data/tokenizer/vocabulary.h"

namespace plimsoll {
namespace {

using namespace tokenizer;            // NOLINT
using Json = nlohmann::ordered_json;  // sections in the order in which the tokenizers library writes them

constexpr std::string_view kSpace = "\xe2\x96\x81";  // ▁, SentencePiece's space

Json byte_level(bool prefix_space, bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", prefix_space}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

Json replace(std::string_view pattern, std::string_view content) {
  return {{"type", "Replace"}, {"pattern", {{"String", pattern}}}, {"content", content}};
}

// GPT-2's pattern is ByteLevel's own, and single digits have a kind of their own; readers of tokenizer.json know
// splittings by these shapes.
Json pre_tokenizer_of(const GgufSplitting& splitting) {
  const std::string_view gpt2 = find_gguf_splitting("gpt-2")->regexes[0];
  auto regexes = splitting.regexes;
  const bool own_pattern = !regexes.empty() && regexes.back() == gpt2;
  if (own_pattern) regexes = regexes.first(regexes.size() - 1);
  Json steps = Json::array();
  for (const std::string_view regex : regexes) {
    if (regex == R"(\p{N})") {
      steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
    } else {
      steps.push_back(
          {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}});
    }
  }
  steps.push_back(byte_level(false, own_pattern));
  return steps.size() == 1 ? steps[0] : Json{{"type", "Sequence"}, {"pretokenizers", steps}};
}

bool is_byte_token(std::string_view text) { return text.size() == 6 && text.starts_with("<0x") && text.ends_with('>'); }

class Writer {
 public:
  Writer(const GgufVocabulary& in, std::string_view source, const TextSink& out)
      : in_(in), source_(source), out_(out), special_(gguf_special_ids(in, source)) {}

  void run() {
    const bool spm = in_.model == "llama";
    if (!spm) splitting_ = &gguf_splitting(in_, source_);
    read_tokens();
    out_("{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
    section("added_tokens", added_tokens());
    section("normalizer", normalizer());
    section("pre_tokenizer", spm ? Json(nullptr) : pre_tokenizer_of(*splitting_));
    section("post_processor", post_processor());
    section("decoder", decoder());
    out_("  \"model\": {\n");
    const Json unk = spm && special_.unk >= 0 ? Json(token(special_.unk)) : Json(nullptr);
    const Json settings = {{"type", "BPE"},
                           {"dropout", nullptr},
                           {"unk_token", unk},
                           {"continuing_subword_prefix", nullptr},
                           {"end_of_word_suffix", nullptr},
                           {"fuse_unk", false},
                           {"byte_fallback", spm},
                           {"ignore_merges", !spm && splitting_->ignore_merges}};
    for (const auto& [key, value] : settings.items()) out_("    \"" + key + "\": " + value.dump() + ",\n");
    out_("    \"vocab\": {");
    for (int64_t id = 0; id < in_.tokens.count; ++id) item(Json(token(id)).dump() + ": " + std::to_string(id));
    out_("\n    },\n    \"merges\": [");
    first_ = true;
    if (spm) write_scored_merges();
    else write_merges();
    out_("\n    ]\n  }\n}\n");
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const {
    throw caller_error(std::string(source_), problem, "convert or download the file again");
  }
  [[noreturn]] void fail_scores(const std::string& problem) const {
    throw caller_error(std::string(source_),
                       "its scores cannot be written as the merges of a tokenizer.json: " + problem,
                       "take tokenizer.json from the model's Hugging Face folder");
  }

  std::string_view token(int64_t id) const { return vocabulary_.text(static_cast<int32_t>(id)); }
  GgufTokenType type(int64_t id) const {
    return in_.token_types.empty() ? GgufTokenType::normal
                                   : static_cast<GgufTokenType>(in_.token_types[static_cast<size_t>(id)]);
  }
  bool is_added(int64_t id) const { return is_gguf_special(type(id)) || type(id) == GgufTokenType::user_defined; }

  void section(const char* name, const Json& value) {
    out_(std::string("  \"") + name + "\": " + value.dump() + ",\n");
  }
  void item(const std::string& text) {
    out_(first_ ? "\n      " : ",\n      ");
    out_(text);
    first_ = false;
  }
  void write_merge(std::string_view left, std::string_view right) { item(Json{left, right}.dump()); }

  void read_tokens() {
    if (!in_.token_types.empty() && static_cast<int64_t>(in_.token_types.size()) != in_.tokens.count)
      fail("tokenizer.ggml.token_type has another length than tokens");
    size_t bytes = 0;
    for (int64_t id = 0; id < in_.tokens.count; ++id) bytes += in_.tokens.at(id).size();
    vocabulary_.reserve(static_cast<size_t>(in_.tokens.count), bytes + 2 * static_cast<size_t>(in_.tokens.count));
    for (int64_t id = 0; id < in_.tokens.count; ++id) {
      const std::string_view text = in_.tokens.at(id);
      if (valid_utf8_prefix(text) != text.size()) fail("token " + std::to_string(id) + " is not UTF-8");
      // Two ids of one text cannot both be the value of one key.
      if (vocabulary_.find(text) != kNoToken)
        fail("the tokens " + std::to_string(vocabulary_.find(text)) + " and " + std::to_string(id) + " are the same");
      if (vocabulary_.add(text, static_cast<int32_t>(id)) != Vocabulary::Added::yes)
        fail("token " + std::to_string(id) + " is longer than 65,535 bytes");
    }
  }

  Json added_tokens() const {
    Json added = Json::array();
    for (int64_t id = 0; id < in_.tokens.count; ++id) {
      if (!is_added(id)) continue;
      added.push_back({{"id", id},
                       {"content", token(id)},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false},
                       {"normalized", false},
                       {"special", is_gguf_special(type(id))}});
    }
    return added;
  }

  bool prefix() const { return in_.add_space_prefix.value_or(true); }

  Json normalizer() const {
    if (splitting_ != nullptr) return splitting_->nfc ? Json{{"type", "NFC"}} : Json(nullptr);
    Json steps = Json::array();
    if (prefix()) steps.push_back({{"type", "Prepend"}, {"prepend", kSpace}});
    steps.push_back(replace(" ", kSpace));
    return {{"type", "Sequence"}, {"normalizers", steps}};
  }

  Json decoder() const {
    if (splitting_ != nullptr) return byte_level(true, true);
    Json steps = {replace(kSpace, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}};
    if (prefix()) steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    return {{"type", "Sequence"}, {"decoders", steps}};
  }

  Json post_processor() const {
    const bool add_bos = in_.add_bos.value_or(splitting_ == nullptr || splitting_->add_bos);
    const bool add_eos = in_.add_eos.value_or(false);
    if (!add_bos && !add_eos) return nullptr;
    if ((add_bos && special_.bos < 0) || (add_eos && special_.eos < 0))
      fail("the tokenizer adds a BOS or EOS token that it does not name");
    Json single = Json::array(), pair = Json::array(), tokens = Json::object();
    const auto special = [&](int32_t id, int type_id) {
      const std::string text(token(id));
      tokens[text] = {{"id", text}, {"ids", Json::array({id})}, {"tokens", Json::array({text})}};
      pair.push_back({{"SpecialToken", {{"id", text}, {"type_id", type_id}}}});
    };
    for (const int type_id : {0, 1}) {
      if (add_bos) special(special_.bos, type_id);
      pair.push_back({{"Sequence", {{"id", type_id == 0 ? "A" : "B"}, {"type_id", type_id}}}});
      if (add_eos) special(special_.eos, type_id);
      if (type_id == 0) single = pair;
    }
    return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", tokens}};
  }

  void write_merges() {
    std::string joined;
    for (int64_t rank = 0; rank < in_.merges.count; ++rank) {
      const std::string_view merge = in_.merges.at(rank);
      const size_t space = merge.find(' ', 1);
      if (space == std::string_view::npos) fail("merge " + std::to_string(rank) + " is not two tokens");
      const std::string_view left = merge.substr(0, space), right = merge.substr(space + 1);
      joined.assign(left).append(right);
      for (const std::string_view part : {left, right, std::string_view(joined)}) {
        if (vocabulary_.find(part) == kNoToken)
          fail("merge " + std::to_string(rank) + " needs a token that the vocabulary does not have");
      }
      write_merge(left, right);
    }
  }

  void write_scored_merges() {
    if (static_cast<int64_t>(in_.scores.size()) != in_.tokens.count)
      fail("tokenizer.ggml.scores has another length than tokens");
    const auto score = [&](int32_t id) { return in_.scores[static_cast<size_t>(id)]; };
    std::vector<int32_t> order(in_.scores.size());
    for (size_t i = 0; i < order.size(); ++i) {
      order[i] = static_cast<int32_t>(i);
      if (std::isnan(in_.scores[i])) fail("tokenizer.ggml.scores holds a NaN");
    }
    std::sort(order.begin(), order.end(),
              [&](int32_t a, int32_t b) { return score(a) != score(b) ? score(a) > score(b) : a < b; });
    int32_t last = kNoToken;
    for (const int32_t id : order) {
      const std::string_view text = token(id);
      if (text.empty()) continue;
      // An added token is taken out of a text before anything merges; the spaces in one only come afterwards.
      if (is_added(id) && text.find(kSpace) == std::string_view::npos) continue;
      const std::vector<size_t> splits = splits_of(text);
      if (splits.empty()) continue;
      check_characters(text);
      if (last != kNoToken && score(last) == score(id))
        fail_scores("\"" + std::string(token(last)) + "\" and \"" + std::string(text) + "\" have the same score");
      last = id;
      for (const size_t at : splits) {
        if (is_byte_token(text.substr(0, at)) || is_byte_token(text.substr(at)))
          fail_scores("\"" + std::string(text) + "\" continues a byte token");
        write_merge(text.substr(0, at), text.substr(at));
      }
    }
  }

  // Where `text` is two tokens. Their order among each other is free: merging the best score first, leftmost first,
  // leaves no two ways to make one token that overlap.
  std::vector<size_t> splits_of(std::string_view text) const {
    std::vector<size_t> splits;
    for (size_t at = previous_char(text, text.size()); at > 0; at = previous_char(text, at)) {
      if (vocabulary_.find(text.substr(0, at)) != kNoToken && vocabulary_.find(text.substr(at)) != kNoToken)
        splits.push_back(at);
    }
    return splits;
  }

  void check_characters(std::string_view text) const {
    for (size_t at = 0; at < text.size();) {
      const size_t bytes = utf8_length(text[at]);
      if (vocabulary_.find(text.substr(at, bytes)) == kNoToken)
        fail_scores("\"" + std::string(text) + "\" has a character that is no token");
      at += bytes;
    }
  }

  const GgufVocabulary& in_;
  std::string_view source_;
  const TextSink& out_;
  SpecialIds special_;
  const GgufSplitting* splitting_ = nullptr;  // none: "llama"
  Vocabulary vocabulary_;
  bool first_ = true;
};

}  // namespace

void write_tokenizer_json(const GgufVocabulary& vocabulary, std::string_view source, const TextSink& out) {
  Writer(vocabulary, source, out).run();
}

std::string write_tokenizer_config_json(const GgufVocabulary& vocabulary, std::string_view source,
                                        int64_t context_length) {
  const SpecialIds special = gguf_special_ids(vocabulary, source);
  Json config = Json::object();
  const auto name = [&](const char* key, int32_t id) {
    if (id >= 0) config[key] = vocabulary.tokens.at(id);
  };
  name("bos_token", special.bos);
  name("eos_token", special.eos);
  name("pad_token", special.pad);
  name("unk_token", special.unk);
  config["clean_up_tokenization_spaces"] = false;
  if (context_length > 0) config["model_max_length"] = context_length;
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  return config.dump(2) + "\n";
}

}  // namespace plimsoll
