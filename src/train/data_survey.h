// What a data file is for a model, before anything is trained on it.
#pragma once

#include <string>
#include <vector>

#include "config/recipe/recipe.h"
#include "data/dataset.h"

namespace plimsoll {

struct DataSurvey {
  // Texts of consecutive tokens that count in the loss, or do not.
  struct Run {
    std::string text;
    bool counted = false;
  };
  struct Example {
    std::vector<Run> runs;
    int64_t tokens = 0, hidden_tokens = 0;  // all; not in `runs`, at its end
  };
  // Tokens of rows before they are cut; of a preference pair, of the chosen side.
  struct Lengths {
    int64_t min = 0, median = 0, p95 = 0, max = 0;
    double mean = 0;
  };
  struct Bin {
    int64_t from = 0, to = 0, rows = 0;  // inclusive
  };

  DatasetReport report;
  int64_t seq_len = 0;
  Lengths lengths;
  std::vector<Bin> histogram;
  double padding_unpacked = 0, padding_packed = 0;  // share of the positions of all rows of an epoch
  int64_t rows_unpacked = 0, rows_packed = 0;       // of seq_len
  int64_t rejected_tokens = 0;                      // of preference pairs
  std::vector<Example> examples;                    // the first three rows
};

// Reads recipe.data as `train` would, preference pairs too. Throws as TokenizedDataset::from_files.
DataSurvey survey_data(const Recipe& recipe);

}  // namespace plimsoll
