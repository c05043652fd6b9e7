#include "train/data_survey.h"

#include <algorithm>
#include <cmath>

#include "data/model_text.h"
#include "data/packing.h"
#include "formats/model_files.h"
#include "train/train_data.h"

namespace plimsoll {
namespace {

constexpr size_t kExamples = 3;
constexpr size_t kShownTokens = 300;
constexpr size_t kExactLengths = 64 << 10;  // lengths above are counted as one

DataSurvey::Example show(const TokenizedRow& row, const Tokenizer& tokenizer) {
  DataSurvey::Example example;
  example.tokens = static_cast<int64_t>(row.ids.size());
  const size_t shown = std::min(row.ids.size(), kShownTokens);
  example.hidden_tokens = example.tokens - static_cast<int64_t>(shown);
  StreamDecoder decoder(tokenizer, false);
  const auto add = [&](const std::string& text, bool counted) {
    if (text.empty()) return;
    if (example.runs.empty() || example.runs.back().counted != counted) example.runs.push_back({"", counted});
    example.runs.back().text += text;
  };
  bool counted = false;
  for (size_t i = 0; i < shown; ++i) {
    counted = i > 0 && row.labels[i] != kIgnoredLabel && row.ids[i - 1] >= 0;
    add(decoder.put(row.ids[i] < 0 ? -1 - row.ids[i] : row.ids[i]), counted);
  }
  add(decoder.finish(), counted);
  return example;
}

// Counts by length; the histogram's bins grow by halves: 1–16, 17–24, 25–32, 33–48, …
class LengthCounts {
 public:
  void add(int64_t length) {
    const auto at = std::min(static_cast<size_t>(length), kExactLengths);
    if (at >= counts_.size()) counts_.resize(at + 1, 0);
    ++counts_[at];
    ++rows_;
    tokens_ += length;
    min_ = rows_ == 1 ? length : std::min(min_, length);
    max_ = std::max(max_, length);
  }
  DataSurvey::Lengths lengths() const {
    if (rows_ == 0) return {};
    return {min_, quantile(0.5), quantile(0.95), max_, static_cast<double>(tokens_) / static_cast<double>(rows_)};
  }
  std::vector<DataSurvey::Bin> histogram() const {
    std::vector<DataSurvey::Bin> bins;
    int64_t from = 0, to = 16;
    while (from <= max_) {
      DataSurvey::Bin bin{from, to, 0};
      for (int64_t i = from; i <= to && i < static_cast<int64_t>(counts_.size()); ++i)
        bin.rows += counts_[static_cast<size_t>(i)];
      bins.push_back(bin);
      from = to + 1;
      const bool power = (to & (to - 1)) == 0;
      to = power ? to + to / 2 : to / 3 * 4;
      if (to > static_cast<int64_t>(kExactLengths)) to = std::max(max_, to);
    }
    while (bins.size() > 1 && bins.front().rows == 0) bins.erase(bins.begin());
    return bins;
  }

 private:
  int64_t quantile(double share) const {
    const auto wanted = static_cast<int64_t>(std::ceil(share * static_cast<double>(rows_)));
    int64_t seen = 0;
    for (size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen >= wanted) return i == kExactLengths ? max_ : static_cast<int64_t>(i);
    }
    return max_;
  }

  std::vector<int64_t> counts_;
  int64_t rows_ = 0, tokens_ = 0, min_ = 0, max_ = 0;
};

double padding_share(int64_t rows, int64_t seq_len, int64_t tokens) {
  const double positions = static_cast<double>(rows) * static_cast<double>(seq_len);
  return 1 - static_cast<double>(tokens) / positions;
}

}  // namespace

DataSurvey survey_data(const Recipe& recipe) {
  const ModelFiles model = open_model(recipe.model);
  const TextFiles text_files = text_files_of(model);
  std::optional<Tokenizer> tokenizer;  // for the examples
  if (text_files.has_tokenizer()) tokenizer.emplace(load_model_tokenizer(text_files));
  DataSurvey survey;
  LengthCounts counts;
  const TokenizedDataset dataset = open_dataset(model, recipe, recipe.data, [&](const TokenizedRow& row) {
    counts.add(static_cast<int64_t>(row.ids.size()));
    survey.rejected_tokens += static_cast<int64_t>(row.rejected_ids.size());
    if (tokenizer && survey.examples.size() < kExamples) survey.examples.push_back(show(row, *tokenizer));
  });
  survey.report = dataset.report();
  survey.seq_len = recipe.seq_len;
  survey.lengths = counts.lengths();
  survey.histogram = counts.histogram();
  const EpochRows packed(
      dataset.size(), [&](int64_t i) { return dataset.length(i); },
      {recipe.seq_len, true, recipe.shuffle, static_cast<uint64_t>(recipe.seed)}, 0);
  survey.rows_unpacked = dataset.size();
  survey.rows_packed = packed.rows();
  survey.padding_unpacked = padding_share(survey.rows_unpacked, recipe.seq_len, survey.report.tokens);
  survey.padding_packed = padding_share(survey.rows_packed, recipe.seq_len, survey.report.tokens);
  return survey;
}

}  // namespace plimsoll
