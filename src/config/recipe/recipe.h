// What to do with a model: method, precision, optimizer, data, budget. One struct for the flags of `plan` and `train`,
// the keys of recipe.toml, and the recipe.toml that a run writes. config/recipe/recipe_fields.cpp lists every field
// once (name, help, default, range); parsing, writing and --help derive from that list.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/dtype.h"

namespace plimsoll {

enum class Method { full, lora, qlora, dora, qat };
inline bool trains_adapter(Method method) { return method != Method::full && method != Method::qat; }
enum class QatType { int8, int4 };
enum class OptimizerKind { adamw, adam, sgd, adamw8bit, adafactor };
enum class LrScheduleKind { constant, linear, cosine };
enum class LossOn { all, assistant };
enum class DataShape { automatic, text, prompt, instruction, chat, sharegpt, preference, ids };
enum class BadRows { fail, skip };
enum class Overlong { truncate, drop, split };
enum class TextSplit { file, paragraph, line };                 // what is one document of a plain text file
enum class StreamMode { automatic, off, on, weights, inputs };  // on: weights and layer inputs
enum class RecomputeKeep { automatic, nothing, attention };
enum class RecomputeMode { automatic, none, all, layers };

struct Recipe {
  // model and data
  std::string model;
  std::vector<std::string> data;
  std::string eval_data;
  DataShape data_shape = DataShape::automatic;
  std::vector<std::string> field;  // "text=body": the column `body` is what the shapes call `text`
  TextSplit text_split = TextSplit::file;
  BadRows bad_rows = BadRows::fail;
  Overlong overlong = Overlong::truncate;
  bool shuffle = true;
  LossOn loss_on = LossOn::all;
  int64_t seq_len = 512;
  bool packing = true;

  // method
  Method method = Method::lora;
  std::string quant = "auto";     // qlora: how the frozen weights are held; one of quant_words()
  DType precision = DType::bf16;  // f32, bf16 or f16: compute
  int64_t rank = 16;
  double alpha = 32;
  std::string targets = "all-linear";  // or "q_proj,v_proj,…"
  bool rslora = false;
  std::optional<double> router_aux_loss;  // weight; empty: as config.json has it, where output_router_logits is true
  std::string adapter;                    // PEFT folder to start from; its rank, alpha and targets hold
  double lora_dropout = 0;                // share of an adapter's inputs that is zero in a step
  double lora_plus_ratio = 1;             // rate of lora_B (and of DoRA's magnitudes) over that of lora_A
  QatType qat_type = QatType::int8;
  int64_t qat_group = 32;  // int4: inputs that share a scale

  // optimizer
  OptimizerKind optimizer = OptimizerKind::adamw;
  double lr = 1e-4;
  LrScheduleKind lr_schedule = LrScheduleKind::constant;
  int64_t warmup_steps = 0;
  double weight_decay = 0.0;          // adamw: of tensors of two or more dimensions; adam, sgd: L2 in every gradient
  double beta1 = 0.9, beta2 = 0.999;  // --betas 0.9,0.999
  double eps = 1e-8;
  double momentum = 0.0;               // sgd
  DType optimizer_state = DType::f32;  // adamw, adam: of the moments; bf16 is rounded stochastically
  bool master_weights = true;          // full in bf16: false trains the bf16 weights themselves, rounded stochastically
  bool relative_step = false;          // adafactor: the rate is min(0.01, 1/√step)
  bool scale_parameter = false;        // adafactor: the rate is relative to each tensor's root mean square
  double grad_clip = 1.0;              // 0: off
  bool optimizer_in_backward = false;  // each parameter is updated as soon as its gradient is complete
  double loss_scale = 65536;           // fp16: the first one
  int64_t loss_scale_interval = 2000;  // fp16: steps without overflow after which it doubles

  // batch and length of the run
  std::optional<int64_t> micro_batch;   // rows; empty: auto
  std::optional<int64_t> global_batch;  // rows a step; empty: the micro-batch, or 4
  std::optional<int64_t> steps;
  std::optional<double> epochs;  // at most one of steps, epochs; neither: one epoch

  // memory
  std::optional<int64_t> memory_bytes;  // the line; empty: no line
  bool memory_auto = false;             // the line is what is free when the run begins, less a margin
  RecomputeMode recompute = RecomputeMode::automatic;
  int64_t recompute_layers = 0;  // with RecomputeMode::layers
  RecomputeKeep recompute_keep = RecomputeKeep::automatic;
  StreamMode stream = StreamMode::automatic;
  std::optional<int64_t> disk_rate;  // bytes a second that the plan counts with; empty: measured where the run writes
  std::optional<int64_t> ce_chunk_rows;  // empty: auto

  // run
  int64_t seed = 0;
  int64_t threads = 0;     // 0: all processors this process may use
  int64_t save_every = 0;  // steps; 0: no checkpoints
  int64_t eval_every = 0;  // steps; 0: at the end only

  bool operator==(const Recipe&) const = default;
};

}  // namespace plimsoll
