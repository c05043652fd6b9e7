// Rows of text as batches of one shape, any number of times over.
#pragma once

#include <string>
#include <vector>

#include "data/dataset.h"
#include "formats/model_files.h"
#include "setup/run_sources.h"
#include "setup/token_batch.h"

namespace plimsoll {

class TextBatches {
 public:
  // Rows of `length` tokens, cut from the examples one behind another in a shuffled order: no padding, at most
  // `rows` of them. What calibration looks at. A caller Error when the files hold less than one row.
  static TextBatches joined(const ModelFiles& model, const std::vector<std::string>& files, int64_t length,
                            int64_t rows);
  // The files' own rows in their order, packed as `plimsoll eval` packs them; labels as there. rows 0: all.
  static TextBatches packed(const ModelFiles& model, const std::vector<std::string>& files, int64_t length,
                            int64_t rows);

  int64_t count() const { return static_cast<int64_t>(batches_.size()); }  // batches of one row
  int64_t length() const { return length_; }
  const TokenBatch& batch(int64_t index) const { return batches_[static_cast<size_t>(index)]; }
  int64_t bytes() const;  // resident

  // What they may take, before they are read.
  static int64_t most_bytes(const ModelFiles& model, const std::vector<std::string>& files, int64_t length,
                            int64_t rows, int threads);

 private:
  int64_t length_ = 0;
  std::vector<TokenBatch> batches_;
};

}  // namespace plimsoll
