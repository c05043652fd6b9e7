#include "config/recipe_fields.h"

#include <array>
#include <optional>

#include "config/quant_words.h"

namespace plimsoll {
namespace {

// --- the words of each enumeration, in its order --------------------------------------------------------------------

template <typename Enum>
using Words = std::vector<std::pair<std::string_view, Enum>>;

template <typename Enum>
const Words<Enum>& words_of();
template <>
const Words<Method>& words_of() {
  static const Words<Method> words = {{"full", Method::full},
                                      {"lora", Method::lora},
                                      {"qlora", Method::qlora},
                                      {"dora", Method::dora},
                                      {"qat", Method::qat}};
  return words;
}
template <>
const Words<DType>& words_of() {
  static const Words<DType> words = {{"fp32", DType::f32}, {"bf16", DType::bf16}, {"fp16", DType::f16}};
  return words;
}
template <>
const Words<QatType>& words_of() {
  static const Words<QatType> words = {{"int8", QatType::int8}, {"int4", QatType::int4}};
  return words;
}
template <>
const Words<OptimizerKind>& words_of() {
  static const Words<OptimizerKind> words = {{"adamw", OptimizerKind::adamw},
                                             {"adam", OptimizerKind::adam},
                                             {"sgd", OptimizerKind::sgd},
                                             {"adamw8bit", OptimizerKind::adamw8bit},
                                             {"adafactor", OptimizerKind::adafactor}};
  return words;
}
template <>
const Words<LrScheduleKind>& words_of() {
  static const Words<LrScheduleKind> words = {
      {"constant", LrScheduleKind::constant}, {"linear", LrScheduleKind::linear}, {"cosine", LrScheduleKind::cosine}};
  return words;
}
template <>
const Words<LossOn>& words_of() {
  static const Words<LossOn> words = {{"all", LossOn::all}, {"assistant", LossOn::assistant}};
  return words;
}

template <>
const Words<DataShape>& words_of() {
  static const Words<DataShape> words = {
      {"auto", DataShape::automatic},          {"text", DataShape::text}, {"prompt", DataShape::prompt},
      {"instruction", DataShape::instruction}, {"chat", DataShape::chat}, {"sharegpt", DataShape::sharegpt},
      {"preference", DataShape::preference},   {"ids", DataShape::ids}};
  return words;
}
template <>
const Words<BadRows>& words_of() {
  static const Words<BadRows> words = {{"fail", BadRows::fail}, {"skip", BadRows::skip}};
  return words;
}
template <>
const Words<Overlong>& words_of() {
  static const Words<Overlong> words = {
      {"truncate", Overlong::truncate}, {"drop", Overlong::drop}, {"split", Overlong::split}};
  return words;
}
template <>
const Words<TextSplit>& words_of() {
  static const Words<TextSplit> words = {
      {"file", TextSplit::file}, {"paragraph", TextSplit::paragraph}, {"line", TextSplit::line}};
  return words;
}

template <>
const Words<StreamMode>& words_of() {
  static const Words<StreamMode> words = {{"auto", StreamMode::automatic},
                                          {"off", StreamMode::off},
                                          {"on", StreamMode::on},
                                          {"weights", StreamMode::weights},
                                          {"inputs", StreamMode::inputs}};
  return words;
}

template <>
const Words<RecomputeKeep>& words_of() {
  static const Words<RecomputeKeep> words = {
      {"auto", RecomputeKeep::automatic}, {"nothing", RecomputeKeep::nothing}, {"attention", RecomputeKeep::attention}};
  return words;
}

template <typename Enum>
std::vector<std::string_view> names_of() {
  std::vector<std::string_view> names;
  for (const auto& [name, value] : words_of<Enum>()) names.push_back(name);
  return names;
}

// --- how a member of Recipe becomes a FieldValue and back -----------------------------------------------------------

template <auto Member, typename T>  // the member is a T
struct Plain {
  static FieldValue get(const Recipe& recipe) { return static_cast<T>(recipe.*Member); }
  static void set(Recipe& recipe, const FieldValue& value) { recipe.*Member = std::get<T>(value); }
};

template <auto Member, typename T>  // optional<T>; unset is not set
struct Optional {
  static FieldValue get(const Recipe& recipe) { return recipe.*Member ? FieldValue(*(recipe.*Member)) : FieldValue(); }
  static void set(Recipe& recipe, const FieldValue& value) {
    if (const T* given = std::get_if<T>(&value)) recipe.*Member = *given;
    else (recipe.*Member).reset();
  }
};

template <auto Member>  // optional<int64_t>; unset is the word "auto"
struct Auto {
  static FieldValue get(const Recipe& recipe) {
    return recipe.*Member ? FieldValue(*(recipe.*Member)) : FieldValue(std::string("auto"));
  }
  static void set(Recipe& recipe, const FieldValue& value) {
    if (const int64_t* given = std::get_if<int64_t>(&value)) recipe.*Member = *given;
    else (recipe.*Member).reset();
  }
};

template <auto Member, typename Enum>
struct Word {
  static FieldValue get(const Recipe& recipe) {
    for (const auto& [name, value] : words_of<Enum>())
      if (value == recipe.*Member) return std::string(name);
    return {};
  }
  static void set(Recipe& recipe, const FieldValue& value) {
    for (const auto& [name, meaning] : words_of<Enum>())
      if (name == std::get<std::string>(value)) recipe.*Member = meaning;
  }
};

FieldValue get_betas(const Recipe& recipe) { return std::vector<double>{recipe.beta1, recipe.beta2}; }
void set_betas(Recipe& recipe, const FieldValue& value) {
  const auto& betas = std::get<std::vector<double>>(value);
  recipe.beta1 = betas.at(0);
  recipe.beta2 = betas.at(1);
}

FieldValue get_recompute(const Recipe& recipe) {
  switch (recipe.recompute) {
    case RecomputeMode::automatic:
      return std::string("auto");
    case RecomputeMode::none:
      return std::string("none");
    case RecomputeMode::all:
      return std::string("all");
    case RecomputeMode::layers:
      break;
  }
  return recipe.recompute_layers;
}
void set_recompute(Recipe& recipe, const FieldValue& value) {
  recipe.recompute_layers = 0;
  if (const int64_t* layers = std::get_if<int64_t>(&value)) {
    recipe.recompute = RecomputeMode::layers;
    recipe.recompute_layers = *layers;
    return;
  }
  const auto& word = std::get<std::string>(value);
  recipe.recompute = word == "none"  ? RecomputeMode::none
                     : word == "all" ? RecomputeMode::all
                                     : RecomputeMode::automatic;
}

FieldValue get_memory(const Recipe& recipe) {
  if (recipe.memory_auto) return std::string("auto");
  return recipe.memory_bytes ? FieldValue(*recipe.memory_bytes) : FieldValue();
}
void set_memory(Recipe& recipe, const FieldValue& value) {
  recipe.memory_auto = std::holds_alternative<std::string>(value);
  recipe.memory_bytes.reset();
  if (const int64_t* bytes = std::get_if<int64_t>(&value)) recipe.memory_bytes = *bytes;
}

// --- the list -------------------------------------------------------------------------------------------------------

constexpr double kMaxSteps = 1e12;

template <typename Access>
RecipeField bind(RecipeField field) {
  field.get = Access::get;
  field.set = Access::set;
  return field;
}

std::vector<RecipeField> build_fields() {
  using Kind = FieldKind;
  using R = Recipe;
  std::vector<RecipeField> fields;
  std::string_view group;
  const auto add = [&](RecipeField field) {
    field.group = group;
    fields.push_back(std::move(field));
  };

  group = "Model and data";
  add(bind<Plain<&R::model, std::string>>({.name = "model",
                                           .value_name = "MODEL",
                                           .help = "Hugging Face folder, .gguf file, hub id org/name; for planning "
                                                   "also a config.json or a name of the catalogue",
                                           .example = "SmolLM2-135M-Instruct.gguf"}));
  add(bind<Plain<&R::data, std::vector<std::string>>>(
      {.name = "data",
       .kind = Kind::texts,
       .value_name = "FILE…",
       .help = "files to train on: .jsonl, .json, .csv, .tsv or .txt, also .gz and .zst",
       .example = "train.jsonl"}));
  add(bind<Plain<&R::eval_data, std::string>>({.name = "eval-data",
                                               .value_name = "FILE",
                                               .help = "held-out file for the evaluation loss",
                                               .example = "held_out.jsonl"}));
  add(bind<Word<&R::data_shape, DataShape>>(
      {.name = "data-shape",
       .kind = Kind::word,
       .value_name = "auto|text|prompt|instruction|chat|sharegpt|preference|ids",
       .help = "what the rows are; auto: by their columns (preference pairs are read and checked, not trained yet)",
       .example = "chat",
       .words = names_of<DataShape>()}));
  add(bind<Plain<&R::field, std::vector<std::string>>>(
      {.name = "field",
       .kind = Kind::texts,
       .value_name = "NAME=COLUMN…",
       .help = "columns that have other names in the data: text=body messages=dialogue",
       .example = "text=body"}));
  add(bind<Word<&R::text_split, TextSplit>>(
      {.name = "text-split",
       .kind = Kind::word,
       .value_name = "file|paragraph|line",
       .help = "what one document of a plain text file is; a whole file is always cut into rows, none of it is lost",
       .example = "paragraph",
       .words = names_of<TextSplit>()}));
  add(bind<Word<&R::bad_rows, BadRows>>({.name = "bad-rows",
                                         .kind = Kind::word,
                                         .value_name = "fail|skip",
                                         .help = "a row that cannot be used ends the run, or is left out and counted",
                                         .example = "skip",
                                         .words = names_of<BadRows>()}));
  add(bind<Word<&R::overlong, Overlong>>(
      {.name = "overlong",
       .kind = Kind::word,
       .value_name = "truncate|drop|split",
       .help = "examples longer than a row: lose their tail, are left out, or become several rows",
       .example = "split",
       .words = names_of<Overlong>()}));
  add(bind<Plain<&R::shuffle, bool>>({.name = "shuffle",
                                      .kind = Kind::on_off,
                                      .value_name = "on|off",
                                      .help = "new order of the examples every epoch, given by the seed",
                                      .example = "off"}));
  add(bind<Word<&R::loss_on, LossOn>>(
      {.name = "loss-on",
       .kind = Kind::word,
       .value_name = "all|assistant",
       .help = "tokens that count in the loss: all, or only what the assistant says in chats",
       .example = "assistant",
       .words = names_of<LossOn>()}));
  add(bind<Plain<&R::seq_len, int64_t>>({.name = "seq-len",
                                         .kind = Kind::integer,
                                         .value_name = "N",
                                         .help = "tokens in a row; --overlong says what becomes of longer examples",
                                         .example = "1024",
                                         .min = 1,
                                         .max = 1 << 24}));
  add(bind<Plain<&R::packing, bool>>({.name = "packing",
                                      .kind = Kind::on_off,
                                      .value_name = "on|off",
                                      .help = "several examples in one row, their attention and positions apart",
                                      .example = "off"}));

  group = "Method";
  add(bind<Word<&R::method, Method>>(
      {.name = "method",
       .kind = Kind::word,
       .value_name = "full|lora|qlora|dora|qat",
       .help = "all weights; low-rank adapters beside frozen ones; the same, these in few bits; adapters with a "
               "magnitude for each output; all weights, the linear layers computing with quantized ones",
       .example = "full",
       .words = names_of<Method>()}));
  add(bind<Plain<&R::quant, std::string>>(
      {.name = "quant",
       .kind = Kind::word,
       .value_name = "TYPE",
       .help = "qlora: how frozen weights are held: nf4, fp4, int8, fp8, a block type of GGUF, or stored, as a .gguf "
               "file has them; auto: stored, else nf4",
       .example = "nf4",
       .words = quant_words()}));
  add(bind<Word<&R::precision, DType>>(
      {.name = "precision",
       .kind = Kind::word,
       .value_name = "fp32|bf16|fp16",
       .help =
           "what weights and activations are kept in; fp16 scales the loss, skips steps that overflow, and computes "
           "each op in fp32",
       .example = "fp32",
       .words = names_of<DType>()}));
  add(bind<Plain<&R::rank, int64_t>>({.name = "rank",
                                      .kind = Kind::integer,
                                      .value_name = "N",
                                      .help = "rank of the adapters",
                                      .example = "8",
                                      .min = 1,
                                      .max = 65536}));
  add(bind<Plain<&R::alpha, double>>({.name = "alpha",
                                      .kind = Kind::number,
                                      .value_name = "X",
                                      .help = "adapters are scaled by alpha / rank",
                                      .example = "16",
                                      .min = 0,
                                      .max = 1e9}));
  add(bind<Plain<&R::targets, std::string>>(
      {.name = "targets",
       .value_name = "NAMES",
       .help = "linear layers that get an adapter: all-linear, experts (those of a mixture), or names, with commas",
       .example = "q_proj,v_proj"}));
  add(bind<Plain<&R::rslora, bool>>({.name = "rslora",
                                     .kind = Kind::flag,
                                     .help = "scale adapters by alpha / sqrt(rank) instead",
                                     .example = "true"}));
  add(bind<Optional<&R::router_aux_loss, double>>(
      {.name = "router-aux-loss",
       .kind = Kind::number,
       .value_name = "X",
       .help = "weight of the loss that keeps a mixture's experts in even use, 0 is off; not set: the model's "
               "router_aux_loss_coef where its output_router_logits is true",
       .example = "0.01",
       .min = 0,
       .max = 1e6}));
  add(bind<Plain<&R::adapter, std::string>>({.name = "adapter",
                                             .value_name = "DIR",
                                             .help = "PEFT adapter to start from; its rank, alpha and targets hold",
                                             .example = "out/adapter"}));
  add(bind<Plain<&R::lora_dropout, double>>(
      {.name = "lora-dropout",
       .kind = Kind::number,
       .value_name = "P",
       .help = "share of an adapter's inputs that is zero in a step; no mask is kept",
       .example = "0.05",
       .min = 0,
       .max = 1,
       .below_max = true}));
  add(bind<Plain<&R::lora_plus_ratio, double>>(
      {.name = "lora-plus-ratio",
       .kind = Kind::number,
       .value_name = "X",
       .help = "learning rate of lora_B, and of DoRA's magnitudes, over that of lora_A",
       .example = "16",
       .min = 0,
       .max = 1e6}));
  add(bind<Word<&R::qat_type, QatType>>({.name = "qat-type",
                                         .kind = Kind::word,
                                         .value_name = "int8|int4",
                                         .help =
                                             "what --method qat quantizes to: int8 with a scale for each output, int4 "
                                             "with one for each group; --targets says which layers",
                                         .example = "int4",
                                         .words = names_of<QatType>()}));
  add(bind<Plain<&R::qat_group, int64_t>>({.name = "qat-group",
                                           .kind = Kind::integer,
                                           .value_name = "N",
                                           .help = "inputs of an output that share a scale, with --qat-type int4",
                                           .example = "128",
                                           .min = 1,
                                           .max = 1 << 24}));

  group = "Optimizer";
  add(bind<Word<&R::optimizer, OptimizerKind>>(
      {.name = "optimizer",
       .kind = Kind::word,
       .value_name = "adamw|adam|sgd|adamw8bit|adafactor",
       .help = "update rule; adamw8bit: its state as 8-bit codes, adafactor: one number for each row and column",
       .example = "sgd",
       .words = names_of<OptimizerKind>()}));
  add(bind<Plain<&R::lr, double>>({.name = "lr",
                                   .kind = Kind::number,
                                   .value_name = "X",
                                   .help = "highest learning rate",
                                   .example = "2e-4",
                                   .min = 0,
                                   .max = 1e6}));
  add(bind<Word<&R::lr_schedule, LrScheduleKind>>(
      {.name = "lr-schedule",
       .kind = Kind::word,
       .value_name = "constant|linear|cosine",
       .help = "how the rate goes on after the warm-up; linear and cosine end at 0",
       .example = "cosine",
       .words = names_of<LrScheduleKind>()}));
  add(bind<Plain<&R::warmup_steps, int64_t>>({.name = "warmup-steps",
                                              .kind = Kind::integer,
                                              .value_name = "N",
                                              .help = "steps over which the rate rises linearly from 0",
                                              .example = "10",
                                              .min = 0,
                                              .max = kMaxSteps}));
  add(bind<Plain<&R::weight_decay, double>>(
      {.name = "weight-decay",
       .kind = Kind::number,
       .value_name = "X",
       .help = "decay of tensors of two or more dimensions (adam, sgd: in the gradient of every tensor)",
       .example = "0.01",
       .min = 0,
       .max = 1e6}));
  add({.name = "betas",
       .kind = Kind::pair,
       .value_name = "X,Y",
       .help = "Adam's two averaging factors",
       .example = "0.9,0.95",
       .min = 0,
       .max = 1,
       .below_max = true,
       .get = get_betas,
       .set = set_betas});
  add(bind<Plain<&R::eps, double>>({.name = "eps",
                                    .kind = Kind::number,
                                    .value_name = "X",
                                    .help = "Adam's term against division by zero",
                                    .example = "1e-6",
                                    .min = 0,
                                    .max = 1}));
  add(bind<Plain<&R::momentum, double>>({.name = "momentum",
                                         .kind = Kind::number,
                                         .value_name = "X",
                                         .help = "momentum of sgd",
                                         .example = "0.9",
                                         .min = 0,
                                         .max = 1,
                                         .below_max = true}));
  add(bind<Word<&R::optimizer_state, DType>>(
      {.name = "optimizer-state",
       .kind = Kind::word,
       .value_name = "fp32|bf16",
       .help = "how adamw and adam keep their two averages; bf16: half the bytes, rounded stochastically",
       .example = "bf16",
       .words = {"fp32", "bf16"}}));
  add(bind<Plain<&R::master_weights, bool>>(
      {.name = "master-weights",
       .kind = Kind::on_off,
       .value_name = "on|off",
       .help = "fp32 copy of what is trained; off: bf16 weights of --method full are updated in place, rounded "
               "stochastically",
       .example = "off"}));
  add(bind<Plain<&R::relative_step, bool>>(
      {.name = "relative-step",
       .kind = Kind::on_off,
       .value_name = "on|off",
       .help = "adafactor: the rate is min(0.01, 1 / sqrt(step)) instead of --lr and its schedule",
       .example = "on"}));
  add(bind<Plain<&R::scale_parameter, bool>>(
      {.name = "scale-parameter",
       .kind = Kind::on_off,
       .value_name = "on|off",
       .help = "adafactor: the rate is times the root mean square of each tensor's weights",
       .example = "on"}));
  add(bind<Plain<&R::grad_clip, double>>({.name = "grad-clip",
                                          .kind = Kind::number,
                                          .value_name = "X",
                                          .help = "largest norm of all gradients together; 0 is off",
                                          .example = "0.5",
                                          .min = 0,
                                          .max = 1e9}));
  add(bind<Plain<&R::optimizer_in_backward, bool>>(
      {.name = "optimizer-in-backward",
       .kind = Kind::on_off,
       .value_name = "on|off",
       .help = "update each parameter as soon as its gradient is complete, so that no step holds all gradients; with "
               "--grad-clip or fp16 each step runs twice, first for the norm",
       .example = "on"}));
  add(bind<Plain<&R::loss_scale, double>>(
      {.name = "loss-scale",
       .kind = Kind::number,
       .value_name = "X",
       .help = "fp16: what the loss is multiplied by at first; halved by an overflow",
       .example = "1024",
       .min = 1,
       .max = 1e12}));
  add(bind<Plain<&R::loss_scale_interval, int64_t>>(
      {.name = "loss-scale-interval",
       .kind = Kind::integer,
       .value_name = "N",
       .help = "fp16: steps without overflow after which the scale doubles",
       .example = "500",
       .min = 1,
       .max = kMaxSteps}));

  group = "Batch and length";
  add(bind<Auto<&R::micro_batch>>({.name = "micro-batch",
                                   .kind = Kind::integer,
                                   .value_name = "auto|N",
                                   .help = "rows computed at once; auto: the fastest that fits",
                                   .example = "4",
                                   .words = {"auto"},
                                   .min = 1,
                                   .max = 1 << 20}));
  add(bind<Optional<&R::global_batch, int64_t>>(
      {.name = "global-batch",
       .kind = Kind::integer,
       .value_name = "N",
       .help = "rows of one step, a multiple of the micro-batch; not set: the micro-batch, or 4 where that is auto",
       .example = "16",
       .min = 1,
       .max = 1 << 24}));
  add(bind<Optional<&R::steps, int64_t>>({.name = "steps",
                                          .kind = Kind::integer,
                                          .value_name = "N",
                                          .help = "optimizer steps; this or epochs, neither: one epoch",
                                          .example = "200",
                                          .min = 1,
                                          .max = kMaxSteps,
                                          .instead_of = "epochs"}));
  add(bind<Optional<&R::epochs, double>>({.name = "epochs",
                                          .kind = Kind::number,
                                          .value_name = "N",
                                          .help = "passes over the data, also in parts such as 0.5",
                                          .example = "3",
                                          .min = 0,
                                          .max = 1e9,
                                          .instead_of = "steps"}));

  group = "Memory";
  add({.name = "memory",
       .kind = Kind::size,
       .value_name = "SIZE|auto",
       .help = "the line: the most memory that the whole process may use; auto: what is free now, less a tenth",
       .example = "2GiB",
       .words = {"auto"},
       .min = 1,
       .get = get_memory,
       .set = set_memory});
  add(bind<Word<&R::stream, StreamMode>>(
      {.name = "stream",
       .kind = Kind::word,
       .value_name = "auto|off|on|weights|inputs",
       .help = "frozen weights lie on disk and are read while the layer before computes, what recomputed layers keep "
               "goes there and comes back; on: both, auto: where nothing else fits",
       .example = "off",
       .words = names_of<StreamMode>()}));
  add(bind<Optional<&R::disk_rate, int64_t>>(
      {.name = "disk-rate",
       .kind = Kind::size,
       .value_name = "SIZE",
       .help = "bytes a second of the disk that streaming reads from; not set: a short test where the run writes",
       .example = "3GB",
       .min = 1}));
  add({.name = "recompute",
       .kind = Kind::integer,
       .value_name = "auto|none|all|N",
       .help = "layers whose activations are computed again in the backward pass; auto: as many as must be",
       .example = "all",
       .words = {"auto", "none", "all"},
       .min = 0,
       .max = 1e6,
       .get = get_recompute,
       .set = set_recompute});
  add(bind<Word<&R::recompute_keep, RecomputeKeep>>(
      {.name = "recompute-keep",
       .kind = Kind::word,
       .value_name = "auto|nothing|attention",
       .help =
           "what recomputed layers keep beside their input; auto: what attention gave, where that is faster and fits",
       .example = "nothing",
       .words = names_of<RecomputeKeep>()}));
  add(bind<Auto<&R::ce_chunk_rows>>({.name = "ce-chunk-rows",
                                     .kind = Kind::integer,
                                     .value_name = "auto|N",
                                     .help = "rows of logits that exist at once in the loss",
                                     .example = "256",
                                     .words = {"auto"},
                                     .min = 1,
                                     .max = 1 << 30}));

  group = "Run";
  add(bind<Plain<&R::seed, int64_t>>({.name = "seed",
                                      .kind = Kind::integer,
                                      .value_name = "N",
                                      .help = "seed of the shuffling and of new adapters",
                                      .example = "1",
                                      .min = 0}));
  add(bind<Plain<&R::threads, int64_t>>({.name = "threads",
                                         .kind = Kind::integer,
                                         .value_name = "N",
                                         .help = "threads that compute; 0: all processors this process may use",
                                         .example = "4",
                                         .min = 0,
                                         .max = 1024}));
  add(bind<Plain<&R::save_every, int64_t>>({.name = "save-every",
                                            .kind = Kind::integer,
                                            .value_name = "N",
                                            .help = "steps between checkpoints; 0: none",
                                            .example = "100",
                                            .min = 0,
                                            .max = kMaxSteps}));
  add(bind<Plain<&R::eval_every, int64_t>>({.name = "eval-every",
                                            .kind = Kind::integer,
                                            .value_name = "N",
                                            .help = "steps between evaluations; 0: only at the end",
                                            .example = "50",
                                            .min = 0,
                                            .max = kMaxSteps}));
  return fields;
}

}  // namespace

std::span<const RecipeField> recipe_fields() {
  static const std::vector<RecipeField> fields = build_fields();
  return fields;
}

const RecipeField* find_recipe_field(std::string_view name) {
  std::string flag(name);
  for (char& c : flag)
    if (c == '_') c = '-';
  for (const RecipeField& field : recipe_fields())
    if (field.name == flag) return &field;
  return nullptr;
}

}  // namespace plimsoll
