// Running a model piece by piece (quantize/forward_pieces.h): the weights of one piece are in memory, what pieces hand
// on lies in a temporary file.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "data/token_cache.h"
#include "formats/model_files.h"
#include "quantize/forward_pieces.h"
#include "quantize/text_batches.h"
#include "runtime/executor.h"

namespace plimsoll {

// What a piece hands on for each batch, in the order of the batches.
class Carried {
 public:
  explicit Carried(const ForwardPiece& from);
  void append(const Executor& executor, const std::vector<ValueId>& values);
  void finish() { file_.finish(); }
  // `first`, `count`: rows of the batch; every value is (rows, …).
  void read(int64_t batch, const Executor& executor, const std::vector<ValueId>& values) const;
  void read_rows(int64_t batch, int64_t first, int64_t count, size_t value, std::span<std::byte> out) const;

 private:
  std::vector<int64_t> bytes_, rows_;
  int64_t record_ = 0;
  ScratchFile file_;
};

class LayerStream {
 public:
  LayerStream(const ModelConfig& config, int64_t length, DType compute = DType::f32);

  const std::vector<ForwardPiece>& pieces() const { return pieces_; }
  // One pass of all batches through a piece whose plan's phase `executor` runs; `next` gets what it hands on.
  void run(const ForwardPiece& piece, const Executor& executor, const TextBatches& batches, const Carried* before,
           Carried* next) const;
  void write_inputs(const Executor& executor, const TokenBatch& batch) const;

 private:
  std::vector<ForwardPiece> pieces_;
  std::vector<float> inv_freq_;
};

// With a phase that loads parameters ("master." before a name: an f32 copy of it) and clears sums. A caller Error when
// a parameter is not in `weights`.
RunPlan plan_piece(std::vector<Graph> phases, const TensorIndex& weights, int threads);

}  // namespace plimsoll
