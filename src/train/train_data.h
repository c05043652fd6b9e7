// The tokenized data of a run, with the model's own tokenizer and chat template.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "config/recipe/recipe.h"
#include "data/dataset.h"
#include "formats/model_files.h"

namespace plimsoll {

struct TrainData {
  TokenizedDataset train;
  std::optional<TokenizedDataset> eval;
  int32_t pad_id = 0;
};

// Tokenizes recipe.data and recipe.eval_data; the tokenizer is given back before this returns. A model without a
// tokenizer can be trained on ready input_ids only. Throws caller Errors "FILE:LINE".
TrainData open_train_data(const ModelFiles& model, const Recipe& recipe);

// The same for one list of files: what `eval` reads. With `on_row`, which sees every row before it is cut, preference
// pairs are taken too, nothing is noted, and the caller reports.
TokenizedDataset open_dataset(const ModelFiles& model, const Recipe& recipe, const std::vector<std::string>& files,
                              const std::function<void(const TokenizedRow&)>& on_row = {});

int32_t pad_id_of(const ModelConfig& config);

}  // namespace plimsoll
