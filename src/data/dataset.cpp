#include "data/dataset.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "data/dataset_row.h"
#include "data/jinja/meter.h"

namespace plimsoll {
namespace {

std::string temporary_folder(const DatasetOptions& options) {
  if (!options.cache_folder.empty()) return options.cache_folder;
  return scratch_folder();
}

int64_t count_targets(std::span<const int32_t> ids, std::span<const int32_t> labels) {
  int64_t count = 0;
  for (size_t i = 1; i < labels.size(); ++i) count += labels[i] != kIgnoredLabel && ids[i - 1] >= 0 ? 1 : 0;
  return count;
}

// The row at a place, with the place in every error.
TokenizedRow tokenize_here(const RowReader& rows, const std::string& place, const DatasetOptions& options) {
  try {
    return tokenize_row(rows.value(), rows.piece(), place, options);
  } catch (const jinja::Failure& failure) {
    const bool lines = rows.format() == FileFormat::jsonl;
    throw caller_error(
        place, one_line(failure.what()),
        lines ? "write one JSON object a line" : "correct the row, or leave it out with --bad-rows skip");
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::caller || error.thing() == place) throw;
    throw caller_error(place, error.thing() + ": " + error.problem(), error.way_out());
  }
}

class Reading {
 public:
  Reading(const DatasetOptions& options, TokenCache& cache, DatasetReport& report)
      : options_(options), cache_(cache), report_(report) {}

  void read_file(const std::string& path) {
    RowReader rows(path, options_.text_split);
    report_.files.push_back({path, rows.format(), rows.compression(), 0});
    while (rows.next()) {
      ++report_.files.back().rows;
      read_row(rows);
    }
  }

  // Throws the first bad row, unless they are to be skipped.
  void end_of_data() const {
    if (!first_error_) return;
    if (report_.bad_rows == 1) throw Error(*first_error_);
    for (size_t i = 1; i < report_.first_bad.size(); ++i)
      log_warning(one_line(report_.first_bad[i].place) + ": " + one_line(report_.first_bad[i].problem));
    throw caller_error(first_error_->thing(),
                       first_error_->problem() + " (and " + std::to_string(report_.bad_rows - 1) + " more bad rows" +
                           (report_.bad_rows >= static_cast<int64_t>(kShownBadRows) ? ", at least)" : ")"),
                       first_error_->way_out() + "; --bad-rows skip goes on without them");
  }

 private:
  void read_row(const RowReader& rows) {
    const std::string place = rows.place();
    TokenizedRow row;
    try {
      row = tokenize_here(rows, place, options_);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::caller) throw;
      add_bad(error);
      return;
    }
    if (row.shape == DataShape::preference && !options_.take_preferences)
      throw caller_error(place, "is a preference pair (chosen and rejected), which cannot be trained on yet",
                         "plimsoll data checks the pairs; to train on the chosen answers alone give --field "
                         "messages=chosen, or --field completion=chosen where they are texts behind a prompt");
    ++report_.shape_rows[static_cast<size_t>(row.shape)];
    if (row.prompt_cut && ++report_.prompts_cut == 1) report_.first_prompt_cut = place;
    if (options_.on_row) options_.on_row(row);
    if (!first_error_) keep(row);
  }

  void add_bad(const Error& error) {
    ++report_.bad_rows;
    if (report_.first_bad.size() < kShownBadRows) report_.first_bad.push_back({error.thing(), error.problem()});
    if (options_.bad_rows == BadRows::skip) return;
    if (!first_error_) first_error_ = error;
    if (report_.bad_rows == static_cast<int64_t>(kShownBadRows)) end_of_data();
  }

  void keep(const TokenizedRow& row) {
    const auto length = static_cast<int64_t>(row.ids.size());
    if (length <= options_.seq_len) return append(row, 0, length);
    if (!row.is_piece && options_.overlong == Overlong::truncate) {
      ++report_.truncated_rows;
      report_.truncated_tokens += length - options_.seq_len;
      return append(row, 0, options_.seq_len);
    }
    if (!row.is_piece && options_.overlong == Overlong::drop) {
      ++report_.dropped_rows;
      report_.dropped_tokens += length;
      return;
    }
    ++report_.split_rows;
    for (int64_t begin = 0; begin < length; begin += options_.seq_len) {
      ++report_.split_pieces;
      append(row, begin, std::min(options_.seq_len, length - begin));
    }
  }

  void append(const TokenizedRow& row, int64_t begin, int64_t count) {
    const auto part = [&](const std::vector<int32_t>& values) {
      return std::span(values).subspan(static_cast<size_t>(begin), static_cast<size_t>(count));
    };
    const int64_t targets = count_targets(part(row.ids), part(row.labels));
    if (targets == 0 && !row.ready) {
      ++report_.rows_without_target;
      return;
    }
    cache_.append(part(row.ids), part(row.labels));
    ++report_.rows;
    report_.tokens += count;
    report_.counted_tokens += targets;
  }

  const DatasetOptions& options_;
  TokenCache& cache_;
  DatasetReport& report_;
  std::optional<Error> first_error_;
};

}  // namespace

TokenizedDataset TokenizedDataset::from_files(std::span<const std::string> paths, const DatasetOptions& options) {
  PLIMSOLL_CHECK(options.seq_len > 0 && options.vocab_size > 0 && options.encode,
                 "the dataset's options are not complete");
  TokenizedDataset dataset{TokenCache(temporary_folder(options), options.examples_in_memory)};
  DatasetReport& report = dataset.report_;
  Reading reading(options, dataset.cache_, report);
  for (const std::string& path : paths) reading.read_file(path);
  reading.end_of_data();
  if (report.counted_tokens == 0) {
    const std::string reason =
        report.first_bad.empty() ? "" : " (" + report.first_bad[0].place + ": " + report.first_bad[0].problem + ")";
    throw caller_error(paths.empty() ? "data" : paths[0],
                       "there is nothing to learn in it: " + to_string(report, options.seq_len) + reason,
                       "give rows with text, messages, prompt and completion, or input_ids");
  }
  dataset.cache_.finish();
  return dataset;
}

std::string to_string(const DatasetReport& report, int64_t seq_len) {
  const auto count = [](int64_t value) { return format_thousands(value); };
  std::string text =
      count(report.rows) + " rows, " + count(report.tokens) + " tokens (" + count(report.counted_tokens) + " counted)";
  if (report.truncated_rows > 0)
    text += "; " + count(report.truncated_rows) + " rows cut to " + count(seq_len) + " tokens, " +
            count(report.truncated_tokens) + " tokens lost";
  if (report.dropped_rows > 0)
    text += "; " + count(report.dropped_rows) + " rows of more than " + count(seq_len) + " tokens left out, " +
            count(report.dropped_tokens) + " tokens lost";
  if (report.split_rows > 0)
    text += "; " + count(report.split_rows) + " rows of more than " + count(seq_len) + " tokens split into " +
            count(report.split_pieces);
  if (report.rows_without_target > 0)
    text += "; " + count(report.rows_without_target) + " rows left out: nothing to learn in them";
  if (report.bad_rows > 0) text += "; " + count(report.bad_rows) + " bad rows left out";
  return text;
}

std::string describe_cut_prompts(const DatasetReport& report) {
  if (report.prompts_cut == 0) return "";
  return "in " + format_thousands(report.prompts_cut) + " rows, the first " + one_line(report.first_prompt_cut, 200) +
         ", the prompt ends inside a token, which counts as the completion's; a prompt alone is cut otherwise. A blank "
         "between the two belongs to the completion";
}

std::string describe_files(const DatasetReport& report) {
  std::string text;
  for (const DatasetReport::File& file : report.files) {
    if (!text.empty()) text += ", ";
    text += one_line(file.path, 120) + ": " + name_of(file.format);
    if (file.compression != Compression::none) text += std::string(" (") + name_of(file.compression) + ")";
    text += ", " + format_thousands(file.rows) + " rows";
  }
  std::string shapes;
  const auto kinds = std::count_if(report.shape_rows.begin(), report.shape_rows.end(), [](int64_t n) { return n > 0; });
  for (size_t i = 0; i < report.shape_rows.size(); ++i) {
    if (report.shape_rows[i] == 0) continue;
    shapes += (shapes.empty() ? "" : ", ") + std::string(name_of(static_cast<DataShape>(i)));
    if (kinds > 1) shapes += " (" + format_thousands(report.shape_rows[i]) + ")";
  }
  return text + "; " + (kinds > 1 ? "shapes: " : "shape: ") + (shapes.empty() ? "none" : shapes);
}

}  // namespace plimsoll
