#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/input/input_file.h"
#include "cli/text/output.h"
#include "data/model_text.h"

namespace plimsoll::cli {
namespace {

struct TokenizeOptions {
  std::string model;
  std::optional<std::string> text, file;
  bool no_special = false;
  bool json = false;
};

constexpr size_t kOutputPiece = 64 << 10;

struct Encoded {
  std::vector<int32_t> ids, type_ids;
};

Json line_json(const Tokenizer& tokenizer, const Encoded& encoded) {
  Json json;
  json["ids"] = encoded.ids;
  json["decoded"] = tokenizer.decode(encoded.ids, false);
  if (!encoded.type_ids.empty()) json["type_ids"] = encoded.type_ids;
  return json;
}

// {"text": …}, perhaps with {"pair": …}: two texts as one input.
Encoded encode_line(const Tokenizer& tokenizer, const std::string& line, const std::string& place, bool add_special) {
  const Json json = Json::parse(line, nullptr, false);
  const auto text = json.is_object() ? json.find("text") : json.end();
  if (!json.is_object() || text == json.end() || !text->is_string())
    throw caller_error(place, json.is_discarded() ? "is not JSON" : "has no \"text\"",
                       "write one object a line: {\"text\": \"Hello\"}");
  const auto pair = json.find("pair");
  if (pair == json.end() || pair->is_null())
    return {tokenizer.encode(text->get_ref<const std::string&>(), add_special), {}};
  if (!pair->is_string())
    throw caller_error(place, "has a \"pair\" that is not text", "write {\"text\": \"Hello\", \"pair\": \"world\"}");
  PairEncoding encoding =
      tokenizer.encode_pair(text->get_ref<const std::string&>(), pair->get_ref<const std::string&>(), add_special);
  return {std::move(encoding.ids), std::move(encoding.type_ids)};
}

void tokenize_file(const Tokenizer& tokenizer, const std::string& path, bool add_special) {
  LineReader lines(path);
  std::string line, output;
  while (lines.next(line)) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string place = fmt::format("{} line {}", one_line(path), lines.line_number());
    const Encoded encoded = encode_line(tokenizer, line, place, add_special);
    output += line_json(tokenizer, encoded).dump() + "\n";
    if (output.size() < kOutputPiece) continue;
    write_result(output);
    output.clear();
  }
  write_result(output);
}

int run_tokenize(const TokenizeOptions& options) {
  if (options.text.has_value() == options.file.has_value())
    throw caller_error("plimsoll tokenize", options.text ? "--text and --file given together" : "a text is missing",
                       "give --text TEXT or --file FILE.jsonl");
  const Tokenizer tokenizer = load_model_tokenizer(find_text_files(options.model));
  if (options.file) {
    tokenize_file(tokenizer, *options.file, !options.no_special);
    return 0;
  }
  const Encoded encoded{tokenizer.encode(*options.text, !options.no_special), {}};
  if (options.json) {
    write_json_line(line_json(tokenizer, encoded));
    return 0;
  }
  write_result(fmt::format("{}\n", fmt::join(encoded.ids, " ")));
  log_note(fmt::format("{} tokens", format_thousands(static_cast<int64_t>(encoded.ids.size()))));
  return 0;
}

}  // namespace

Command tokenize_command() {
  auto options = std::make_shared<TokenizeOptions>();
  return {
      .name = "tokenize",
      .summary = "token ids of texts",
      .examples = {"plimsoll tokenize SmolLM2-135M-Instruct.gguf --text \"Hello, world\"",
                   "plimsoll tokenize model/ --file texts.jsonl --no-special"},
      .arguments =
          {{.name = "MODEL",
            .value_name = "MODEL",
            .help = "folder with a tokenizer, a tokenizer.json or tokenizer.model, or a .gguf file",
            .target = &options->model,
            .required = true},
           {.name = "--text", .value_name = "TEXT", .help = "the text", .target = &options->text, .may_be_empty = true},
           {.name = "--file",
            .value_name = "FILE.jsonl",
            .help = "a line {\"text\": …} each; gives a line {\"ids\": […], \"decoded\": …} each; - is stdin",
            .target = &options->file},
           {.name = "--no-special",
            .value_name = "",
            .help = "without the tokens that the tokenizer adds at the ends",
            .target = &options->no_special}},
      .json = &options->json,
      .run = [options] { return run_tokenize(*options); }};
}

}  // namespace plimsoll::cli
