// Training data: files (data/files/row_reader.h) → rows (row_shape.h) → token ids and labels, kept in temporary files
// so that the process stays small.
//
// Ready rows (input_ids) are taken as they are: `labels` as Hugging Face has them (not shifted, -100 is ignored),
// `attention_mask` with zeros only at the ends; loss_on does not change ready labels. Chats are rendered by the model's
// template and tokenized without adding special tokens. Documents and prompt/completion texts get the tokenizer's own
// special tokens and, if there is an EOS token, one EOS at the end. Rows (other than ready ones) without a token to
// learn are left out, and counted. A prompt and its completion are tokenized as one text; where a token stands across
// their border it counts as the completion's, and the row is counted. A row that cannot be used is a caller Error
// "FILE:LINE", or left out and counted.
#pragma once

#include <array>
#include <cstdint>
#include <ctime>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/recipe/recipe.h"
#include "data/chat_template.h"
#include "data/files/row_reader.h"
#include "data/packing.h"
#include "data/row_shape.h"
#include "data/token_cache.h"

namespace plimsoll {

inline constexpr int32_t kIgnoredLabel = -100;

struct EncodedText {
  std::vector<int32_t> ids;
  std::vector<std::pair<int64_t, int64_t>> byte_offsets;  // of each id in the text; empty range: a special token added
};

struct TokenizedRow {
  std::vector<int32_t> ids;     // below zero: -1 - id, masked
  std::vector<int32_t> labels;  // not shifted; kIgnoredLabel is ignored
  bool ready = false;           // the row gave its ids itself
  bool is_piece = false;        // of a long document: cut into rows, whatever --overlong says
  bool prompt_cut = false;      // the completion begins inside a token of the whole
  DataShape shape = DataShape::text;
  std::vector<int32_t> rejected_ids;  // of a preference pair; ids and labels are the chosen answer's
};

struct DatasetOptions {
  int64_t seq_len = 512;
  DataShape shape = DataShape::automatic;
  std::vector<std::string> fields;  // "text=body"
  TextSplit text_split = TextSplit::file;
  BadRows bad_rows = BadRows::fail;
  Overlong overlong = Overlong::truncate;
  bool take_preferences = false;                        // else a preference pair is a caller Error
  std::function<void(const TokenizedRow& row)> on_row;  // each row that is not bad, before it is cut
  LossOn loss_on = LossOn::all;
  int64_t vocab_size = 0;
  std::optional<int32_t> eos_token_id;  // written behind documents
  std::function<std::vector<int32_t>(std::string_view text, bool add_special)> encode;
  // Needed for LossOn::assistant; gives the same ids as `encode`.
  std::function<EncodedText(std::string_view text, bool add_special)> encode_with_offsets;
  const ChatTemplate* chat_template = nullptr;      // needed for chats
  std::optional<std::string> bos_token, eos_token;  // what the template sees
  std::optional<std::tm> now;
  std::string cache_folder;  // of the temporary files; empty: $TMPDIR, else /var/tmp (a disk), else /tmp
  int64_t examples_in_memory = kExamplesInMemory;  // more of them have their index on disk
};

inline constexpr size_t kShownBadRows = 10;

struct DatasetReport {
  struct File {
    std::string path;
    FileFormat format = FileFormat::jsonl;
    Compression compression = Compression::none;
    int64_t rows = 0;  // read, bad ones too
  };
  struct Bad {
    std::string place, problem;
  };

  std::vector<File> files;
  std::array<int64_t, kDataShapeCount> shape_rows{};  // of each shape
  int64_t rows = 0;                                   // examples kept
  int64_t tokens = 0;                                 // of them
  int64_t counted_tokens = 0;                         // labels that are a target once shifted
  int64_t truncated_rows = 0;
  int64_t truncated_tokens = 0;  // cut off
  int64_t dropped_rows = 0, dropped_tokens = 0;
  int64_t split_rows = 0, split_pieces = 0;  // rows that became pieces
  int64_t rows_without_target = 0;           // left out
  int64_t prompts_cut = 0;                   // rows whose prompt ends inside a token
  std::string first_prompt_cut;              // its place
  int64_t bad_rows = 0;                      // left out
  std::vector<Bad> first_bad;                // up to kShownBadRows
};

// "3,000 rows, 401,233 tokens (120,010 counted); 12 rows cut to 512 tokens, 3 rows left out: nothing to learn in them"
std::string to_string(const DatasetReport& report, int64_t seq_len);
// What to know of prompts that end inside a token, and what helps; empty where there are none.
std::string describe_cut_prompts(const DatasetReport& report);
// "train.csv.gz: CSV (gzip), 1,200 rows; shape: instruction"
std::string describe_files(const DatasetReport& report);

class TokenizedDataset {
 public:
  // Reads and tokenizes the files in order. Throws caller and world Errors. Uses, while it runs, up to a few times the
  // longest row; afterwards only bytes().
  // With BadRows::fail reading goes on behind the first bad row until kShownBadRows are found; all are warnings, and
  // the first is the Error.
  static TokenizedDataset from_files(std::span<const std::string> paths, const DatasetOptions& options);

  int64_t size() const { return cache_.size(); }
  int64_t length(int64_t example) const { return cache_.length(example); }  // tokens, 1 … seq_len
  // ids and labels (not shifted) of an example, each of length(example). An id below zero stands for the id -1 - id at
  // a position whose attention_mask is 0. Thread-safe. A failing disk is a world Error.
  void read(int64_t example, std::span<int32_t> ids, std::span<int32_t> labels) const {
    cache_.read(example, ids, labels);
  }

  int64_t bytes() const { return cache_.bytes(); }            // resident: 8 an example, or 0
  int64_t disk_bytes() const { return cache_.disk_bytes(); }  // 8 a token
  const DatasetReport& report() const { return report_; }

 private:
  explicit TokenizedDataset(TokenCache cache) : cache_(std::move(cache)) {}

  TokenCache cache_;
  DatasetReport report_;
};

}  // namespace plimsoll
