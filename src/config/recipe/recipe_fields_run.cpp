// Rows of the recipe: memory, and what else a run takes.
#include "config/recipe/recipe_rows.h"

namespace plimsoll::recipe_rows {

using Kind = FieldKind;
using R = Recipe;

namespace {

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

}  // namespace

void add_memory_fields(Group group) {
  group.add({.name = "memory",
             .kind = Kind::size,
             .value_name = "SIZE|auto",
             .help = "the line: the most memory that the whole process may use; auto: what is free now, less a tenth",
             .example = "2GiB",
             .words = {"auto"},
             .min = 1,
             .get = get_memory,
             .set = set_memory});
  group.add(bind<Word<&R::stream, StreamMode>>(
      {.name = "stream",
       .kind = Kind::word,
       .value_name = "auto|off|on|weights|inputs",
       .help = "frozen weights lie on disk and are read while the layer before computes, what recomputed layers keep "
               "goes there and comes back; on: both, auto: where nothing else fits",
       .example = "off",
       .words = names_of<StreamMode>()}));
  group.add(bind<Optional<&R::disk_rate, int64_t>>({.name = "disk-rate",
                                                    .kind = Kind::size,
                                                    .value_name = "SIZE",
                                                    .help = "bytes a second of the disk that streaming reads from; not "
                                                            "set: a short test where the run writes (plan --engine: "
                                                            "of one node's NVMe)",
                                                    .example = "3GB",
                                                    .min = 1}));
  group.add({.name = "recompute",
             .kind = Kind::integer,
             .value_name = "auto|none|all|N",
             .help = "layers whose activations are computed again in the backward pass; auto: as many as must be",
             .example = "all",
             .words = {"auto", "none", "all"},
             .min = 0,
             .max = 1e6,
             .get = get_recompute,
             .set = set_recompute});
  group.add(bind<Word<&R::recompute_keep, RecomputeKeep>>(
      {.name = "recompute-keep",
       .kind = Kind::word,
       .value_name = "auto|nothing|attention",
       .help =
           "what recomputed layers keep beside their input; auto: what attention gave, where that is faster and fits",
       .example = "nothing",
       .words = names_of<RecomputeKeep>()}));
  group.add(bind<Auto<&R::ce_chunk_rows>>({.name = "ce-chunk-rows",
                                           .kind = Kind::integer,
                                           .value_name = "auto|N",
                                           .help = "rows of logits that exist at once in the loss",
                                           .example = "256",
                                           .words = {"auto"},
                                           .min = 1,
                                           .max = 1 << 30}));
}

void add_run_fields(Group group) {
  group.add(bind<Plain<&R::seed, int64_t>>({.name = "seed",
                                            .kind = Kind::integer,
                                            .value_name = "N",
                                            .help = "seed of the shuffling and of new adapters",
                                            .example = "1",
                                            .min = 0}));
  group.add(bind<Plain<&R::threads, int64_t>>({.name = "threads",
                                               .kind = Kind::integer,
                                               .value_name = "N",
                                               .help = "threads that compute; 0: all processors this process may use",
                                               .example = "4",
                                               .min = 0,
                                               .max = 1024}));
  group.add(bind<Plain<&R::save_every, int64_t>>({.name = "save-every",
                                                  .kind = Kind::integer,
                                                  .value_name = "N",
                                                  .help = "steps between checkpoints; 0: none",
                                                  .example = "100",
                                                  .min = 0,
                                                  .max = kMaxSteps}));
  group.add(bind<Plain<&R::eval_every, int64_t>>({.name = "eval-every",
                                                  .kind = Kind::integer,
                                                  .value_name = "N",
                                                  .help = "steps between evaluations; 0: only at the end",
                                                  .example = "50",
                                                  .min = 0,
                                                  .max = kMaxSteps}));
}

}  // namespace plimsoll::recipe_rows
