// Rows of the recipe: what is trained on.
#include "config/recipe/recipe_rows.h"

namespace plimsoll::recipe_rows {

using Kind = FieldKind;
using R = Recipe;

void add_data_fields(Group group) {
  group.add(
      bind<Plain<&R::model, std::string>>({.name = "model",
                                           .value_name = "MODEL",
                                           .help = "Hugging Face folder, .gguf file, hub id org/name; for planning "
                                                   "also a config.json or a name of the catalogue",
                                           .example = "SmolLM2-135M-Instruct.gguf"}));
  group.add(bind<Plain<&R::data, std::vector<std::string>>>(
      {.name = "data",
       .kind = Kind::texts,
       .value_name = "FILE…",
       .help = "files to train on: .jsonl, .json, .csv, .tsv or .txt, also .gz and .zst",
       .example = "train.jsonl"}));
  group.add(bind<Plain<&R::eval_data, std::string>>({.name = "eval-data",
                                                     .value_name = "FILE",
                                                     .help = "held-out file for the evaluation loss",
                                                     .example = "held_out.jsonl"}));
  group.add(bind<Word<&R::data_shape, DataShape>>(
      {.name = "data-shape",
       .kind = Kind::word,
       .value_name = "auto|text|prompt|instruction|chat|sharegpt|preference|ids",
       .help = "what the rows are; auto: by their columns (preference pairs are read and checked, not trained yet)",
       .example = "chat",
       .words = names_of<DataShape>()}));
  group.add(bind<Plain<&R::field, std::vector<std::string>>>(
      {.name = "field",
       .kind = Kind::texts,
       .value_name = "NAME=COLUMN…",
       .help = "columns that have other names in the data: text=body messages=dialogue",
       .example = "text=body"}));
  group.add(bind<Word<&R::text_split, TextSplit>>(
      {.name = "text-split",
       .kind = Kind::word,
       .value_name = "file|paragraph|line",
       .help = "what one document of a plain text file is; a whole file is always cut into rows, none of it is lost",
       .example = "paragraph",
       .words = names_of<TextSplit>()}));
  group.add(
      bind<Word<&R::bad_rows, BadRows>>({.name = "bad-rows",
                                         .kind = Kind::word,
                                         .value_name = "fail|skip",
                                         .help = "a row that cannot be used ends the run, or is left out and counted",
                                         .example = "skip",
                                         .words = names_of<BadRows>()}));
  group.add(bind<Word<&R::overlong, Overlong>>(
      {.name = "overlong",
       .kind = Kind::word,
       .value_name = "truncate|drop|split",
       .help = "examples longer than a row: lose their tail, are left out, or become several rows",
       .example = "split",
       .words = names_of<Overlong>()}));
  group.add(bind<Plain<&R::shuffle, bool>>({.name = "shuffle",
                                            .kind = Kind::on_off,
                                            .value_name = "on|off",
                                            .help = "new order of the examples every epoch, given by the seed",
                                            .example = "off"}));
  group.add(bind<Word<&R::loss_on, LossOn>>(
      {.name = "loss-on",
       .kind = Kind::word,
       .value_name = "all|assistant",
       .help = "tokens that count in the loss: all, or only what the assistant says in chats",
       .example = "assistant",
       .words = names_of<LossOn>()}));
  group.add(
      bind<Plain<&R::seq_len, int64_t>>({.name = "seq-len",
                                         .kind = Kind::integer,
                                         .value_name = "N",
                                         .help = "tokens in a row; --overlong says what becomes of longer examples",
                                         .example = "1024",
                                         .min = 1,
                                         .max = 1 << 24}));
  group.add(bind<Plain<&R::packing, bool>>({.name = "packing",
                                            .kind = Kind::on_off,
                                            .value_name = "on|off",
                                            .help = "several examples in one row, their attention and positions apart",
                                            .example = "off"}));
}

}  // namespace plimsoll::recipe_rows
