#include <fmt/format.h>

#include <memory>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/arguments/result_target.h"
#include "cli/commands.h"
#include "cli/text/output.h"
#include "config/machine.h"
#include "data/files/row_reader.h"
#include "data/row_shape.h"
#include "data/tokenizer_training/train_tokenizer.h"
#include "formats/output_file.h"
#include "models/model_folder.h"

namespace plimsoll::cli {
namespace {

struct TokenizerOptions {
  std::string action, kind = "bpe", out;
  std::vector<std::string> files, special;
  int64_t vocab = 0;
  bool json = false;
};

// Every text of a row, whatever its shape: roles and identifiers are no text.
void for_each_text(const jinja::Value& value, const std::function<void(std::string_view)>& take) {
  if (value.is_string()) {
    take(value.text());
  } else if (value.is_list()) {
    for (const jinja::Value& item : value.items()) for_each_text(item, take);
  } else if (value.is_dict()) {
    for (const auto& [key, item] : value.as_dict().entries)
      if (!key.is_string() || (key.text() != "role" && key.text() != "from" && key.text() != "id"))
        for_each_text(item, take);
  }
}

void read_texts(const std::vector<std::string>& files, const std::function<void(std::string_view)>& take) {
  for (const std::string& path : files) {
    RowReader rows(path, TextSplit::line);
    while (rows.next()) {
      try {
        bool any = false;
        for_each_text(rows.value(), [&](std::string_view text) {
          any = true;
          take(text);
        });
        if (!any) throw caller_error(rows.place(), "holds no text", "mend the row or leave it out");
      } catch (const jinja::Failure& failure) {
        throw caller_error(rows.place(), failure.what(), "mend the row or leave it out");
      }
    }
  }
}

int run_tokenizer(const TokenizerOptions& options) {
  if (options.action != "train")
    throw caller_error(one_line(options.action, 40), "is nothing that can be done with a tokenizer",
                       "plimsoll tokenizer train FILE… --vocab N --out DIR");
  if (options.kind != "bpe" && options.kind != "unigram")
    throw caller_error("--kind", "'" + one_line(options.kind, 40) + "' is not bpe or unigram",
                       "for example --kind bpe");
  require_no_result(options.out, {"tokenizer.json"});
  require_folder_place(options.out);
  TokenizerTraining training;
  training.kind = options.kind == "bpe" ? TokenizerKind::bpe : TokenizerKind::unigram;
  training.vocab_size = options.vocab;
  training.special = options.special;
  training.threads = inspect_machine().threads;
  const TrainedTokenizer trained =
      train_tokenizer(training, [&](const auto& take) { read_texts(options.files, take); });
  NewFolder folder(options.out);
  write_file_atomically(options.out + "/tokenizer_config.json", trained.tokenizer_config_json);
  write_file_atomically(options.out + "/tokenizer.json", trained.tokenizer_json);  // last: now it is a tokenizer
  folder.keep();
  if (options.json) {
    write_json({{"output", options.out},
                {"kind", options.kind},
                {"vocab_size", trained.vocab_size},
                {"texts", trained.texts},
                {"text_bytes", trained.text_bytes}});
    return 0;
  }
  write_result(options.out + "\n");
  log_note(fmt::format("{} tokens learnt from {} texts, {} bytes", format_thousands(trained.vocab_size),
                       format_thousands(trained.texts), format_thousands(trained.text_bytes)));
  if (trained.vocab_size < options.vocab) log_note("the text does not yield more tokens");
  return 0;
}

}  // namespace

Command tokenizer_command() {
  auto options = std::make_shared<TokenizerOptions>();
  return {
      .name = "tokenizer",
      .summary = "a new tokenizer, learnt from text",
      .examples = {"plimsoll tokenizer train train.jsonl --vocab 8192 --out tokenizer/",
                   "plimsoll tokenizer train *.txt --vocab 16000 --kind unigram --special '<|user|>' --out tokenizer/"},
      .arguments = {{.name = "ACTION",
                     .value_name = "train",
                     .help = "what to do",
                     .target = &options->action,
                     .required = true},
                    {.name = "FILE",
                     .value_name = "FILE…",
                     .help = "data files, as for train: .jsonl, .json, .csv, .tsv or .txt, also .gz and .zst",
                     .target = &options->files,
                     .required = true},
                    {.name = "--vocab",
                     .value_name = "N",
                     .help = "tokens in all: special ones, the 256 bytes, learnt ones",
                     .target = &options->vocab,
                     .required = true,
                     .min = 1,
                     .max = 1 << 22},
                    {.name = "--kind",
                     .value_name = "bpe|unigram",
                     .help = "byte-level merges as GPT-2 has them, or SentencePiece's unigram [bpe]",
                     .target = &options->kind},
                    {.name = "--special",
                     .value_name = "TOKEN",
                     .help = "a further token that text never splits; may be given again",
                     .target = &options->special},
                    {.name = "--out",
                     .value_name = "DIR",
                     .help = "folder that gets tokenizer.json; must not have one yet",
                     .target = &options->out,
                     .required = true}},
      .json = &options->json,
      .run = [options] { return run_tokenizer(*options); }};
}

}  // namespace plimsoll::cli
