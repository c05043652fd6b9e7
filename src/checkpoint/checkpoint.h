// Saved state of a training run, complete or absent: a folder checkpoint-N with state.safetensors (f32 masters and
// optimizer state, as they lie in the arena) and progress.json. Written as checkpoint-N.partial and renamed when every
// byte is on disk, so a run that is killed at any moment leaves only complete checkpoints.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "runtime/executor.h"

namespace plimsoll {

// Dynamic scaling of the loss in fp16 (train/loss_scale.h).
struct LossScaleState {
  double scale = 1;
  int64_t good_steps = 0;     // without overflow since the scale last changed
  int64_t skipped_steps = 0;  // of the run
};

// What a resumed run must agree on to end with the same bytes.
struct CheckpointProgress {
  int64_t step = 0;  // optimizer steps done
  int64_t micro_batch = 0, recompute_layers = 0, ce_chunk_rows = 0;
  double train_seconds = 0;
  int64_t data_rows = 0, data_tokens = 0;  // of the training data, as tokenized
  LossScaleState loss_scale = {};          // fp16
  std::string state_checksum = {};         // XXH3 of the saved tensors, 16 hex digits; filled by find_checkpoint
};

std::string checkpoint_folder(const std::string& out, int64_t step);

// Runs the save phase into a new checkpoint of `out`. World Error when the disk is full; nothing partial is left.
void save_checkpoint(const std::string& out, const CheckpointProgress& progress, const Executor& save_phase,
                     RunState& state);

// Removes all but the newest `keep` checkpoints, and what an interrupted save left.
void prune_checkpoints(const std::string& out, int64_t keep);

// The newest complete checkpoint of `out`; nullopt when there is none. A damaged one is a caller Error.
std::optional<CheckpointProgress> find_checkpoint(const std::string& out);

// Runs the resume phase from the checkpoint that find_checkpoint found. A caller Error when its bytes are not those
// that were saved; the values loaded are then garbage.
void load_checkpoint(const std::string& out, const CheckpointProgress& progress, const Executor& resume_phase,
                     RunState& state);

}  // namespace plimsoll
