#include "data/dataset.h"

#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "base/text.h"
#include "data/dataset_reader.h"
#include "data/dataset_row.h"
#include "data/jinja/json.h"

namespace plimsoll {
namespace {

std::string temporary_folder(const DatasetOptions& options) {
  if (!options.cache_folder.empty()) return options.cache_folder;
  const char* folder = std::getenv("TMPDIR");
  return folder != nullptr && *folder != '\0' ? folder : "/tmp";
}

int64_t count_targets(std::span<const int32_t> ids, std::span<const int32_t> labels) {
  int64_t count = 0;
  for (size_t i = 1; i < labels.size(); ++i) count += labels[i] != kIgnoredLabel && ids[i - 1] >= 0 ? 1 : 0;
  return count;
}

// The row at a line, with the place in every error.
TokenizedRow tokenize_line(std::string_view line, const std::string& place, const DatasetOptions& options) {
  try {
    return tokenize_row(jinja::parse_json(line), place, options);
  } catch (const jinja::Failure& failure) {
    throw caller_error(place, one_line(failure.what()), "write one JSON object a line");
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::caller || error.thing() == place) throw;
    throw caller_error(place, error.thing() + ": " + error.problem(), error.way_out());
  }
}

}  // namespace

TokenizedDataset TokenizedDataset::from_files(std::span<const std::string> paths, const DatasetOptions& options) {
  PLIMSOLL_CHECK(options.seq_len > 0 && options.vocab_size > 0 && options.encode,
                 "the dataset's options are not complete");
  TokenizedDataset dataset{TokenCache(temporary_folder(options))};
  DatasetReport& report = dataset.report_;
  for (const std::string& path : paths) {
    LineReader lines(path, kMaxLineBytes);
    for (std::string_view line; lines.next(line);) {
      TokenizedRow row = tokenize_line(line, lines.place(), options);
      const auto length = static_cast<int64_t>(row.ids.size());
      if (length > options.seq_len) {
        ++report.truncated_rows;
        report.truncated_tokens += length - options.seq_len;
        row.ids.resize(static_cast<size_t>(options.seq_len));
        row.labels.resize(static_cast<size_t>(options.seq_len));
      }
      const int64_t targets = count_targets(row.ids, row.labels);
      if (targets == 0 && !row.ready) {
        ++report.rows_without_target;
        continue;
      }
      dataset.cache_.append(row.ids, row.labels);
      ++report.rows;
      report.tokens += static_cast<int64_t>(row.ids.size());
      report.counted_tokens += targets;
    }
  }
  if (report.counted_tokens == 0) {
    throw caller_error(paths.empty() ? "data" : paths[0],
                       "there is nothing to learn in it: " + to_string(report, options.seq_len),
                       "give rows with text, messages, prompt and completion, or input_ids");
  }
  dataset.cache_.finish();
  return dataset;
}

std::string to_string(const DatasetReport& report, int64_t seq_len) {
  std::string text = format_thousands(report.rows) + " rows, " + format_thousands(report.tokens) + " tokens (" +
                     format_thousands(report.counted_tokens) + " counted)";
  if (report.truncated_rows > 0) {
    text += "; " + format_thousands(report.truncated_rows) + " rows cut to " + format_thousands(seq_len) + " tokens, " +
            format_thousands(report.truncated_tokens) + " tokens lost";
  }
  if (report.rows_without_target > 0) {
    text += "; " + format_thousands(report.rows_without_target) + " rows left out: nothing to learn in them";
  }
  return text;
}

}  // namespace plimsoll
