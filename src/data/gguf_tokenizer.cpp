#include "data/gguf_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data/tokenizer/files/tokenizer_gguf.h"
#include "formats/text_file.h"

namespace plimsoll {
namespace {

using nlohmann::json;

// Kinds of tokens as llama.cpp numbers them.
constexpr int32_t kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5;

// Ways of splitting that tokenizer.json writes as regular expressions before ByteLevel, by llama.cpp's names; of two
// with the same expressions that with the same ignore_merges counts.
constexpr std::array<std::string_view, 4> kSplittings = {"llama-bpe", "dbrx", "qwen2", "gpt-4o"};

struct Vocabulary {
  GgufTexts texts;           // in order of appearance
  std::vector<int64_t> ids;  // of each
  GgufTexts merges;          // "a b"
  json rest;                 // the document without model.vocab and model.merges
};

// Parses tokenizer.json while keeping its two large parts out of the tree: they go into compact arrays as they come.
class VocabularyParser {
 public:
  VocabularyParser(std::string_view text, const std::string& source) : source_(source) {
    out_.rest = json::parse(
        text.begin(), text.end(),
        [this](int depth, json::parse_event_t event, json& parsed) { return keep(depth, event, parsed); }, false);
    if (out_.rest.is_discarded() || !out_.rest.is_object()) fail("is not valid JSON");
  }

  Vocabulary take() { return std::move(out_); }

 private:
  enum class Part { none, vocabulary, merges };

  [[noreturn]] void fail(const std::string& problem) const {
    throw caller_error(source_, problem, "use the tokenizer.json that belongs to the model");
  }

  // Depth counts the containers around an event: 1 in the document, 2 in "model", 3 in its vocabulary or merges.
  bool keep(int depth, json::parse_event_t event, json& parsed) {
    using Event = json::parse_event_t;
    if (event == Event::key) {
      const auto& name = parsed.get_ref<const std::string&>();
      if (depth == 1) in_model_ = name == "model";
      if (depth <= 2) part_ = Part::none;
      if (depth == 2 && in_model_ && name == "vocab") part_ = Part::vocabulary;
      if (depth == 2 && in_model_ && name == "merges") part_ = Part::merges;
      if (depth == 3 && part_ == Part::vocabulary) {
        out_.texts.push_back(name);
        return false;
      }
      return true;
    }
    if (depth < 3 || part_ == Part::none) return true;
    if (part_ == Part::vocabulary) return take_id(depth, event, parsed);
    return take_merge(depth, event, parsed);
  }

  bool take_id(int depth, json::parse_event_t event, const json& parsed) {
    if (depth != 3 || event != json::parse_event_t::value || !parsed.is_number_unsigned())
      fail("has a vocabulary with broken ids");
    out_.ids.push_back(parsed.get<int64_t>());
    return true;  // its key was refused already
  }

  // "a b", or ["a", "b"].
  bool take_merge(int depth, json::parse_event_t event, const json& parsed) {
    using Event = json::parse_event_t;
    if (event == Event::value && parsed.is_string() && (depth == 3 || depth == 4)) {
      const auto& text = parsed.get_ref<const std::string&>();
      if (depth == 3) {
        out_.merges.push_back(text);
      } else {
        if (text.find(' ') != std::string::npos)
          fail("has a merge with a space inside a token, which GGUF cannot hold");
        if (merge_parts_++ > 0) out_.merges.append(" ");
        out_.merges.append(text);
      }
    } else if (depth == 3 && event == Event::array_start) {
      merge_parts_ = 0;
      return true;
    } else if (depth == 3 && event == Event::array_end) {
      if (merge_parts_ != 2) fail("has a merge that does not join two tokens");
      out_.merges.close();
    } else {
      fail("has broken merges");
    }
    return false;
  }

  std::string source_;
  Vocabulary out_;
  bool in_model_ = false;
  Part part_ = Part::none;
  int merge_parts_ = 0;
};

// A member of an object, null when it or the object is not there.
const json& member(const json& object, const char* key) {
  static const json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

bool is_type(const json& object, std::string_view type) {
  const json& value = member(object, "type");
  return value.is_string() && value.get_ref<const std::string&>() == type;
}

bool flag(const json& object, const char* key, bool otherwise) {
  const json& value = member(object, key);
  return value.is_boolean() ? value.get<bool>() : otherwise;
}

bool is_byte_level(const json& step, bool use_regex) {
  return is_type(step, "ByteLevel") && !flag(step, "add_prefix_space", true) &&
         flag(step, "use_regex", true) == use_regex;
}

bool is_split(const json& step, std::string_view regex) {
  const json& pattern = member(member(step, "pattern"), "Regex");
  const json& behavior = member(step, "behavior");
  return is_type(step, "Split") && pattern.is_string() && pattern.get_ref<const std::string&>() == regex &&
         behavior.is_string() && behavior.get_ref<const std::string&>() == "Isolated" && !flag(step, "invert", false);
}

// llama.cpp's name for the way that text is split before merging; empty when it has none.
std::string recognise_splitting(const json& document) {
  const json& step = member(document, "pre_tokenizer");
  const bool ignore_merges = flag(member(document, "model"), "ignore_merges", false);
  const bool plain = member(document, "normalizer").is_null();
  if (is_byte_level(step, true)) return plain && !ignore_merges ? "gpt-2" : "";
  const json& steps = member(step, "pretokenizers");
  if (!is_type(step, "Sequence") || !steps.is_array() || steps.size() < 2) return "";
  if (steps.size() == 2 && is_type(steps[0], "Digits") && flag(steps[0], "individual_digits", false) &&
      is_byte_level(steps[1], true))
    return plain && !ignore_merges ? "smollm" : "";
  if (!is_byte_level(steps.back(), false)) return "";
  const bool nfc = is_type(member(document, "normalizer"), "NFC");
  for (const std::string_view name : kSplittings) {
    const GgufSplitting& splitting = *find_gguf_splitting(name);
    bool same = steps.size() == splitting.regexes.size() + 1 && splitting.ignore_merges == ignore_merges &&
                (plain || (nfc && splitting.nfc));
    for (size_t i = 0; same && i < splitting.regexes.size(); ++i) same = is_split(steps[i], splitting.regexes[i]);
    if (same) return std::string(name);
  }
  return "";
}

struct TokenTable {
  GgufTexts texts;
  std::vector<int32_t> kinds;
  std::map<std::string, int64_t, std::less<>> added;  // content → id
};

TokenTable build_table(const Vocabulary& vocabulary, const ModelConfig& config, const std::string& source) {
  const auto fail = [&](const std::string& problem) {
    return caller_error(source, problem, "use the tokenizer.json that belongs to the model");
  };
  TokenTable table;
  std::vector<int64_t> slot(static_cast<size_t>(config.vocab_size), -1);  // index into vocabulary.texts
  const auto check_id = [&](int64_t id, std::string_view text) {
    if (id < 0 || id >= config.vocab_size) {
      throw fail(fmt::format("gives token '{}' the id {}, but the model has {} tokens", text.substr(0, 40), id,
                             config.vocab_size));
    }
  };
  for (int64_t i = 0; i < vocabulary.texts.size(); ++i) {
    const int64_t id = vocabulary.ids[static_cast<size_t>(i)];
    check_id(id, vocabulary.texts[i]);
    if (slot[static_cast<size_t>(id)] >= 0) throw fail(fmt::format("gives two tokens the id {}", id));
    slot[static_cast<size_t>(id)] = i;
  }
  std::map<int64_t, std::pair<std::string, bool>> added;  // id → content, control
  const json& added_tokens = member(vocabulary.rest, "added_tokens");
  for (const json& token : added_tokens.is_array() ? added_tokens : json::array()) {
    const json &content = member(token, "content"), &id = member(token, "id");
    if (!content.is_string() || !id.is_number_unsigned()) throw fail("has a broken list of added tokens");
    const auto text = content.get<std::string>();
    check_id(id.get<int64_t>(), text);
    const bool looks_special = text.starts_with("<|") && text.ends_with("|>");
    table.added[text] = id.get<int64_t>();
    added[id.get<int64_t>()] = {text, flag(token, "special", false) || looks_special};
  }
  table.texts.reserve(config.vocab_size, vocabulary.texts.pool_bytes());
  for (int64_t id = 0; id < config.vocab_size; ++id) {
    const int64_t at = slot[static_cast<size_t>(id)];
    if (const auto found = added.find(id); found != added.end()) {
      table.texts.push_back(found->second.first);
      table.kinds.push_back(found->second.second ? kControl : kUserDefined);
    } else if (at >= 0) {
      table.texts.push_back(vocabulary.texts[at]);
      table.kinds.push_back(kNormal);
    } else {  // embedding rows beyond the vocabulary
      table.texts.push_back(fmt::format("[PAD{}]", id));
      table.kinds.push_back(kUnused);
    }
  }
  return table;
}

// The special tokens that the post-processor puts before and after a text.
struct Surround {
  std::optional<int64_t> before, after;
};

std::optional<int64_t> special_token_id(const json& processor, const json& piece) {
  const json& name = member(member(piece, "SpecialToken"), "id");
  if (!name.is_string()) return std::nullopt;
  const json& ids =
      member(member(member(processor, "special_tokens"), name.get_ref<const std::string&>().c_str()), "ids");
  if (!ids.is_array() || ids.size() != 1 || !ids[0].is_number_unsigned()) return std::nullopt;
  return ids[0].get<int64_t>();
}

Surround find_surround(const json& processor) {
  Surround out;
  if (is_type(processor, "Sequence")) {
    const json& steps = member(processor, "processors");
    for (const json& step : steps.is_array() ? steps : json::array()) {
      const Surround inner = is_type(step, "TemplateProcessing") ? find_surround(step) : Surround{};
      if (inner.before) out.before = inner.before;
      if (inner.after) out.after = inner.after;
    }
  } else if (is_type(processor, "TemplateProcessing")) {
    const json& single = member(processor, "single");
    if (single.is_array() && !single.empty()) {
      out.before = special_token_id(processor, single.front());
      out.after = special_token_id(processor, single.back());
    }
  }
  return out;
}

// tokenizer_config.json names special tokens by their text, as such or as {"content": …}.
std::optional<int64_t> named_token(const json& tokenizer_config, const char* key, const TokenTable& table) {
  const json& entry = member(tokenizer_config, key);
  const json& text = entry.is_object() ? member(entry, "content") : entry;
  if (!text.is_string()) return std::nullopt;
  const auto found = table.added.find(text.get_ref<const std::string&>());
  return found == table.added.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace

GgufMetadata gguf_tokenizer_metadata(const std::string& tokenizer_json, const std::string& tokenizer_config_json,
                                     std::string_view chat_template, const ModelConfig& config) {
  const Vocabulary vocabulary = VocabularyParser(read_text_file(tokenizer_json), tokenizer_json).take();
  const json& model = member(vocabulary.rest, "model");
  const bool byte_level_bpe = is_type(model, "BPE") && !flag(model, "byte_fallback", false) &&
                              is_type(member(vocabulary.rest, "decoder"), "ByteLevel");
  const std::string splitting = byte_level_bpe ? recognise_splitting(vocabulary.rest) : "";
  if (splitting.empty()) {
    throw caller_error(tokenizer_json,
                       byte_level_bpe ? "splits text in a way for which llama.cpp has no name known here"
                                      : "is not a byte-level BPE tokenizer",
                       "write a Hugging Face folder, and convert it with llama.cpp's own converter");
  }
  if (vocabulary.ids.empty() || vocabulary.ids.size() != static_cast<size_t>(vocabulary.texts.size())) {
    throw caller_error(tokenizer_json, "has no vocabulary", "use the tokenizer.json that belongs to the model");
  }
  const TokenTable table = build_table(vocabulary, config, tokenizer_json);
  const json tokenizer_config = tokenizer_config_json.empty()
                                    ? json::object()
                                    : json::parse(read_text_file(tokenizer_config_json), nullptr, false);

  GgufMetadata out;
  out["tokenizer.ggml.model"] = gguf_text("gpt2");
  out["tokenizer.ggml.pre"] = gguf_text(splitting);
  out["tokenizer.ggml.tokens"] = gguf_texts(table.texts);
  out["tokenizer.ggml.token_type"] = gguf_i32s(table.kinds);
  out["tokenizer.ggml.merges"] = gguf_texts(vocabulary.merges);
  const Surround surround = find_surround(member(vocabulary.rest, "post_processor"));
  out["tokenizer.ggml.add_bos_token"] = gguf_bool(surround.before.has_value());
  out["tokenizer.ggml.add_eos_token"] = gguf_bool(surround.after.has_value());
  out["tokenizer.ggml.add_space_prefix"] = gguf_bool(false);
  const auto add_id = [&](const char* name, const char* key, std::optional<int64_t> otherwise) {
    std::optional<int64_t> id = named_token(tokenizer_config, key, table);
    if (!id) id = otherwise;
    if (id && *id < config.vocab_size) out[fmt::format("tokenizer.ggml.{}_token_id", name)] = gguf_u32(*id);
  };
  const std::optional<int64_t> config_eos =
      config.eos_token_ids.empty() ? std::nullopt : std::optional(config.eos_token_ids.front());
  add_id("bos", "bos_token", surround.before ? surround.before : config.bos_token_id);
  add_id("eos", "eos_token", surround.after ? surround.after : config_eos);
  add_id("padding", "pad_token", config.pad_token_id);
  add_id("unknown", "unk_token", std::nullopt);
  if (!chat_template.empty()) out["tokenizer.chat_template"] = gguf_text(std::string(chat_template));
  return out;
}

}  // namespace plimsoll
