// Rows of the recipe: what is trained, and in which numbers.
#include "config/quant_words.h"
#include "config/recipe/recipe_rows.h"

namespace plimsoll::recipe_rows {

using Kind = FieldKind;
using R = Recipe;

void add_method_fields(Group group) {
  group.add(bind<Word<&R::method, Method>>(
      {.name = "method",
       .kind = Kind::word,
       .value_name = "full|lora|qlora|dora|qat",
       .help = "all weights; low-rank adapters beside frozen ones; the same, these in few bits; adapters with a "
               "magnitude for each output; all weights, the linear layers computing with quantized ones",
       .example = "full",
       .words = names_of<Method>()}));
  group.add(bind<Plain<&R::quant, std::string>>(
      {.name = "quant",
       .kind = Kind::word,
       .value_name = "TYPE",
       .help = "qlora: how frozen weights are held: nf4, fp4, int8, fp8, a block type of GGUF, or stored, as a .gguf "
               "file has them; auto: stored, else nf4",
       .example = "nf4",
       .words = quant_words()}));
  group.add(bind<Word<&R::precision, DType>>(
      {.name = "precision",
       .kind = Kind::word,
       .value_name = "fp32|bf16|fp16",
       .help =
           "what weights and activations are kept in; fp16 scales the loss, skips steps that overflow, and computes "
           "each op in fp32",
       .example = "fp32",
       .words = names_of<DType>()}));
  group.add(bind<Plain<&R::rank, int64_t>>({.name = "rank",
                                            .kind = Kind::integer,
                                            .value_name = "N",
                                            .help = "rank of the adapters",
                                            .example = "8",
                                            .min = 1,
                                            .max = 65536}));
  group.add(bind<Plain<&R::alpha, double>>({.name = "alpha",
                                            .kind = Kind::number,
                                            .value_name = "X",
                                            .help = "adapters are scaled by alpha / rank",
                                            .example = "16",
                                            .min = 0,
                                            .max = 1e9}));
  group.add(bind<Plain<&R::targets, std::string>>(
      {.name = "targets",
       .value_name = "NAMES",
       .help = "linear layers that get an adapter: all-linear, experts (those of a mixture), or names, with commas",
       .example = "q_proj,v_proj"}));
  group.add(bind<Plain<&R::rslora, bool>>({.name = "rslora",
                                           .kind = Kind::flag,
                                           .help = "scale adapters by alpha / sqrt(rank) instead",
                                           .example = "true"}));
  group.add(bind<Optional<&R::router_aux_loss, double>>(
      {.name = "router-aux-loss",
       .kind = Kind::number,
       .value_name = "X",
       .help = "weight of the loss that keeps a mixture's experts in even use, 0 is off; not set: the model's "
               "router_aux_loss_coef where its output_router_logits is true",
       .example = "0.01",
       .min = 0,
       .max = 1e6}));
  group.add(
      bind<Plain<&R::adapter, std::string>>({.name = "adapter",
                                             .value_name = "DIR",
                                             .help = "PEFT adapter to start from; its rank, alpha and targets hold",
                                             .example = "out/adapter"}));
  group.add(bind<Plain<&R::lora_dropout, double>>(
      {.name = "lora-dropout",
       .kind = Kind::number,
       .value_name = "P",
       .help = "share of an adapter's inputs that is zero in a step; no mask is kept",
       .example = "0.05",
       .min = 0,
       .max = 1,
       .below_max = true}));
  group.add(bind<Plain<&R::lora_plus_ratio, double>>(
      {.name = "lora-plus-ratio",
       .kind = Kind::number,
       .value_name = "X",
       .help = "learning rate of lora_B, and of DoRA's magnitudes, over that of lora_A",
       .example = "16",
       .min = 0,
       .max = 1e6}));
  group.add(bind<Word<&R::qat_type, QatType>>(
      {.name = "qat-type",
       .kind = Kind::word,
       .value_name = "int8|int4",
       .help = "what --method qat quantizes to: int8 with a scale for each output, int4 "
               "with one for each group; --targets says which layers",
       .example = "int4",
       .words = names_of<QatType>()}));
  group.add(bind<Plain<&R::qat_group, int64_t>>({.name = "qat-group",
                                                 .kind = Kind::integer,
                                                 .value_name = "N",
                                                 .help = "inputs of an output that share a scale, with --qat-type int4",
                                                 .example = "128",
                                                 .min = 1,
                                                 .max = 1 << 24}));
}

}  // namespace plimsoll::recipe_rows
