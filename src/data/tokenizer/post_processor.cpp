#include "data/tokenizer/post_processor.h"

#include "base/error.h"

namespace plimsoll::tokenizer {
namespace {

constexpr size_t kMaxTemplatePieces = 1024;

class Parser {
 public:
  Parser(PostProcessor& out, int32_t end_id) : out_(out), end_id_(end_id) {}

  void parse(const JsonSection& section, int depth) {
    if (depth > kMaxSectionDepth) section.fail("too many post-processors in each other");
    const std::string type = section.type();
    if (type == "Sequence") {
      for (const nlohmann::json& inner : section.array("processors")) parse(section.at(inner), depth + 1);
    } else if (type == "TemplateProcessing") {
      out_.single = pieces(section, "single");
      out_.pair = pieces(section, "pair");
    } else if (type == "BertProcessing" || type == "RobertaProcessing") {
      const int32_t cls = token(section, "cls"), sep = token(section, "sep");
      constexpr int32_t kA = TemplatePiece::kFirst, kB = TemplatePiece::kSecond;
      out_.single = {{cls, 0}, {kA, 0}, {sep, 0}};
      if (type == "BertProcessing") out_.pair = {{cls, 0}, {kA, 0}, {sep, 0}, {kB, 1}, {sep, 1}};
      else out_.pair = {{cls, 0}, {kA, 0}, {sep, 0}, {sep, 0}, {kB, 0}, {sep, 0}};
    } else if (type != "ByteLevel") {  // which moves offsets only
      section.fail("the kind \"" + type + "\" is not supported");
    }
  }

 private:
  int32_t check_id(const JsonSection& section, const nlohmann::json& id) const {
    if (!id.is_number_integer()) section.fail("a token id must be an integer");
    const auto value = id.get<int64_t>();
    if (value < 0 || value >= end_id_) section.fail("the token id " + id.dump() + " is not in the vocabulary");
    return static_cast<int32_t>(value);
  }

  int32_t token(const JsonSection& section, const char* key) const {  // ["[SEP]", 102]
    const nlohmann::json& pair = section.array(key);
    if (pair.size() != 2) section.fail(std::string("\"") + key + "\" must be a token and its id");
    return check_id(section, pair[1]);
  }

  std::vector<TemplatePiece> pieces(const JsonSection& section, const char* key) const {
    std::vector<TemplatePiece> out;
    const nlohmann::json* special = section.find("special_tokens");
    for (const nlohmann::json& piece : section.array(key)) {
      const JsonSection entry = section.at(piece);
      const bool sequence = entry.find("Sequence") != nullptr;
      const nlohmann::json* body = entry.find(sequence ? "Sequence" : "SpecialToken");
      if (body == nullptr) section.fail("a template piece must be a Sequence or a SpecialToken");
      const JsonSection inner = section.at(*body);
      const std::string id = inner.string("id");
      const auto type_id = static_cast<int32_t>(inner.integer_or("type_id", 0));
      if (sequence) {
        if (id != "A" && id != "B") section.fail("a Sequence is A or B, not \"" + id + "\"");
        out.push_back({id == "A" ? TemplatePiece::kFirst : TemplatePiece::kSecond, type_id});
      } else {
        if (special == nullptr || !special->is_object() || !special->contains(id))
          section.fail("the token \"" + id + "\" is not under special_tokens");
        for (const nlohmann::json& one : section.at((*special)[id]).array("ids"))
          out.push_back({check_id(section, one), type_id});
      }
      if (out.size() > kMaxTemplatePieces) section.fail("the template has more than 1024 pieces");
    }
    return out;
  }

  PostProcessor& out_;
  int32_t end_id_;
};

}  // namespace

PostProcessor parse_post_processor(const JsonSection& section, int32_t end_id) {
  PostProcessor post_processor;
  if (!section.json.is_null()) Parser(post_processor, end_id).parse(section, 0);
  return post_processor;
}

PostProcessor surround_with(const SpecialIds& special, bool add_bos, bool add_eos, std::string_view source) {
  if ((add_bos && special.bos < 0) || (add_eos && special.eos < 0))
    throw caller_error(std::string(source), "the tokenizer adds a BOS or EOS token that it does not name",
                       "convert or download the file again");
  PostProcessor post;
  post.single.clear();
  post.pair.clear();
  for (const auto& [text, type] : {std::pair(TemplatePiece::kFirst, 0), std::pair(TemplatePiece::kSecond, 1)}) {
    std::vector<TemplatePiece> around;
    if (add_bos) around.push_back({special.bos, type});
    around.push_back({text, type});
    if (add_eos) around.push_back({special.eos, type});
    if (text == TemplatePiece::kFirst) post.single = around;
    post.pair.insert(post.pair.end(), around.begin(), around.end());
  }
  return post;
}

}  // namespace plimsoll::tokenizer
