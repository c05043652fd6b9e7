// Rows of the recipe: memory, and what else a run takes.
#include "config/recipe_rows.h"

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

}  // namespace

void add_memory_fields(Group group) {
  group.add(
      bind<Optional<&R::memory_bytes, int64_t>>({.name = "memory",
                                                 .kind = Kind::size,
                                                 .value_name = "SIZE",
                                                 .help = "the line: the most memory that the whole process may use",
                                                 .example = "2GiB",
                                                 .min = 1}));
  group.add(bind<Word<&R::stream, StreamMode>>(
      {.name = "stream",
       .kind = Kind::word,
       .value_name = "auto|off|on",
       .help = "frozen weights lie on disk and are read while the layer before computes; auto: where nothing else fits",
       .example = "off",
       .words = names_of<StreamMode>()}));
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
