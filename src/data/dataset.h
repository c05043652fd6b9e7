// Training data: JSONL rows → token ids and labels, kept in a temporary file so that the process stays small.
//
// A row is a JSON object with one of
//   input_ids            ready ids, with optional `labels` (Hugging Face: not shifted, -100 is ignored) and
//                        `attention_mask` (zeros only at the ends); loss_on does not change ready labels
//   messages             a chat, with optional `tools`, `documents`, `chat_template_kwargs`; rendered by the chat
//   template
//                        and tokenized without adding special tokens
//   prompt, completion   two strings, or two lists of messages (then it is a chat)
//   text                 a document
// Documents and prompt/completion strings get the tokenizer's own special tokens and, if there is an EOS token, one EOS
// at the end. Rows longer than seq_len lose their tail. Rows (other than ready ones) without a token to learn are left
// out. Both are counted in the report. A row that cannot be used is a caller Error "FILE:LINE".
#pragma once

#include <cstdint>
#include <ctime>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/recipe.h"
#include "data/chat_template.h"
#include "data/token_cache.h"

namespace plimsoll {

inline constexpr int64_t kMaxLineBytes = int64_t{64} << 20;
inline constexpr int32_t kIgnoredLabel = -100;

struct EncodedText {
  std::vector<int32_t> ids;
  std::vector<std::pair<int64_t, int64_t>> byte_offsets;  // of each id in the text; empty range: a special token added
};

struct DatasetOptions {
  int64_t seq_len = 512;
  LossOn loss_on = LossOn::all;
  int64_t vocab_size = 0;
  std::optional<int32_t> eos_token_id;  // written behind documents
  std::function<std::vector<int32_t>(std::string_view text, bool add_special)> encode;
  // Needed for LossOn::assistant; gives the same ids as `encode`.
  std::function<EncodedText(std::string_view text, bool add_special)> encode_with_offsets;
  const ChatTemplate* chat_template = nullptr;      // needed for chats
  std::optional<std::string> bos_token, eos_token;  // what the template sees
  std::optional<std::tm> now;
  std::string cache_folder;  // of the temporary file; empty: $TMPDIR, else /tmp
};

struct DatasetReport {
  int64_t rows = 0;            // examples kept
  int64_t tokens = 0;          // of them
  int64_t counted_tokens = 0;  // labels that are a target once shifted
  int64_t truncated_rows = 0;
  int64_t truncated_tokens = 0;     // cut off
  int64_t rows_without_target = 0;  // left out
};

// "3,000 rows, 401,233 tokens (120,010 counted); 12 rows cut to 512 tokens, 3 rows left out: nothing to learn in them"
std::string to_string(const DatasetReport& report, int64_t seq_len);

class TokenizedDataset {
 public:
  // Reads and tokenizes the files in order. Throws caller and world Errors. Uses, while it runs, up to a few times the
  // longest line; afterwards only bytes().
  static TokenizedDataset from_files(std::span<const std::string> paths, const DatasetOptions& options);

  int64_t size() const { return cache_.size(); }
  int64_t length(int64_t example) const { return cache_.length(example); }  // tokens, 1 … seq_len
  // ids and labels (not shifted) of an example, each of length(example). An id below zero stands for the id -1 - id at
  // a position whose attention_mask is 0. Thread-safe. A failing disk is a world Error.
  void read(int64_t example, std::span<int32_t> ids, std::span<int32_t> labels) const {
    cache_.read(example, ids, labels);
  }

  int64_t bytes() const { return cache_.bytes(); }            // resident: 8 a row
  int64_t disk_bytes() const { return cache_.disk_bytes(); }  // of the temporary file: 8 a token
  const DatasetReport& report() const { return report_; }

 private:
  explicit TokenizedDataset(TokenCache cache) : cache_(std::move(cache)) {}

  TokenCache cache_;
  DatasetReport report_;
};

}  // namespace plimsoll
