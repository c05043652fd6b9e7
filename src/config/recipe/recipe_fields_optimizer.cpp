// Rows of the recipe: how it is trained.
#include "config/recipe/recipe_rows.h"

namespace plimsoll::recipe_rows {

using Kind = FieldKind;
using R = Recipe;

namespace {

FieldValue get_betas(const Recipe& recipe) { return std::vector<double>{recipe.beta1, recipe.beta2}; }
void set_betas(Recipe& recipe, const FieldValue& value) {
  const auto& betas = std::get<std::vector<double>>(value);
  recipe.beta1 = betas.at(0);
  recipe.beta2 = betas.at(1);
}

}  // namespace

void add_optimizer_fields(Group group) {
  group.add(bind<Word<&R::optimizer, OptimizerKind>>(
      {.name = "optimizer",
       .kind = Kind::word,
       .value_name = "adamw|adam|sgd|adamw8bit|adafactor",
       .help = "update rule; adamw8bit: its state as 8-bit codes, adafactor: one number for each row and column",
       .example = "sgd",
       .words = names_of<OptimizerKind>()}));
  group.add(bind<Plain<&R::lr, double>>({.name = "lr",
                                         .kind = Kind::number,
                                         .value_name = "X",
                                         .help = "highest learning rate",
                                         .example = "2e-4",
                                         .min = 0,
                                         .max = 1e6}));
  group.add(bind<Word<&R::lr_schedule, LrScheduleKind>>(
      {.name = "lr-schedule",
       .kind = Kind::word,
       .value_name = "constant|linear|cosine",
       .help = "how the rate goes on after the warm-up; linear and cosine end at 0",
       .example = "cosine",
       .words = names_of<LrScheduleKind>()}));
  group.add(bind<Plain<&R::warmup_steps, int64_t>>({.name = "warmup-steps",
                                                    .kind = Kind::integer,
                                                    .value_name = "N",
                                                    .help = "steps over which the rate rises linearly from 0",
                                                    .example = "10",
                                                    .min = 0,
                                                    .max = kMaxSteps}));
  group.add(bind<Plain<&R::weight_decay, double>>(
      {.name = "weight-decay",
       .kind = Kind::number,
       .value_name = "X",
       .help = "decay of tensors of two or more dimensions (adam, sgd: in the gradient of every tensor)",
       .example = "0.01",
       .min = 0,
       .max = 1e6}));
  group.add({.name = "betas",
             .kind = Kind::pair,
             .value_name = "X,Y",
             .help = "Adam's two averaging factors",
             .example = "0.9,0.95",
             .min = 0,
             .max = 1,
             .below_max = true,
             .get = get_betas,
             .set = set_betas});
  group.add(bind<Plain<&R::eps, double>>({.name = "eps",
                                          .kind = Kind::number,
                                          .value_name = "X",
                                          .help = "Adam's term against division by zero",
                                          .example = "1e-6",
                                          .min = 0,
                                          .max = 1}));
  group.add(bind<Plain<&R::momentum, double>>({.name = "momentum",
                                               .kind = Kind::number,
                                               .value_name = "X",
                                               .help = "momentum of sgd",
                                               .example = "0.9",
                                               .min = 0,
                                               .max = 1,
                                               .below_max = true}));
  group.add(bind<Word<&R::optimizer_state, DType>>(
      {.name = "optimizer-state",
       .kind = Kind::word,
       .value_name = "fp32|bf16",
       .help = "how adamw and adam keep their two averages; bf16: half the bytes, rounded stochastically",
       .example = "bf16",
       .words = {"fp32", "bf16"}}));
  group.add(bind<Plain<&R::master_weights, bool>>(
      {.name = "master-weights",
       .kind = Kind::on_off,
       .value_name = "on|off",
       .help = "fp32 copy of what is trained; off: bf16 weights of --method full are updated in place, rounded "
               "stochastically",
       .example = "off"}));
  group.add(bind<Plain<&R::relative_step, bool>>(
      {.name = "relative-step",
       .kind = Kind::on_off,
       .value_name = "on|off",
       .help = "adafactor: the rate is min(0.01, 1 / sqrt(step)) instead of --lr and its schedule",
       .example = "on"}));
  group.add(bind<Plain<&R::scale_parameter, bool>>(
      {.name = "scale-parameter",
       .kind = Kind::on_off,
       .value_name = "on|off",
       .help = "adafactor: the rate is times the root mean square of each tensor's weights",
       .example = "on"}));
  group.add(bind<Plain<&R::grad_clip, double>>({.name = "grad-clip",
                                                .kind = Kind::number,
                                                .value_name = "X",
                                                .help = "largest norm of all gradients together; 0 is off",
                                                .example = "0.5",
                                                .min = 0,
                                                .max = 1e9}));
  group.add(bind<Plain<&R::optimizer_in_backward, bool>>(
      {.name = "optimizer-in-backward",
       .kind = Kind::on_off,
       .value_name = "on|off",
       .help = "update each parameter as soon as its gradient is complete, so that no step holds all gradients; with "
               "--grad-clip or fp16 each step runs twice, first for the norm",
       .example = "on"}));
  group.add(bind<Plain<&R::loss_scale, double>>(
      {.name = "loss-scale",
       .kind = Kind::number,
       .value_name = "X",
       .help = "fp16: what the loss is multiplied by at first; halved by an overflow",
       .example = "1024",
       .min = 1,
       .max = 1e12}));
  group.add(bind<Plain<&R::loss_scale_interval, int64_t>>(
      {.name = "loss-scale-interval",
       .kind = Kind::integer,
       .value_name = "N",
       .help = "fp16: steps without overflow after which the scale doubles",
       .example = "500",
       .min = 1,
       .max = kMaxSteps}));
}

void add_batch_fields(Group group) {
  group.add(bind<Auto<&R::micro_batch>>({.name = "micro-batch",
                                         .kind = Kind::integer,
                                         .value_name = "auto|N",
                                         .help = "rows computed at once; auto: the fastest that fits",
                                         .example = "4",
                                         .words = {"auto"},
                                         .min = 1,
                                         .max = 1 << 20}));
  group.add(bind<Optional<&R::global_batch, int64_t>>(
      {.name = "global-batch",
       .kind = Kind::integer,
       .value_name = "N",
       .help = "rows of one step, a multiple of the micro-batch; not set: the micro-batch, or 4 where that is auto "
               "(plan --engine: as many as fill its pipeline)",
       .example = "16",
       .min = 1,
       .max = 1 << 24}));
  group.add(bind<Optional<&R::steps, int64_t>>({.name = "steps",
                                                .kind = Kind::integer,
                                                .value_name = "N",
                                                .help = "optimizer steps; this or epochs, neither: one epoch",
                                                .example = "200",
                                                .min = 1,
                                                .max = kMaxSteps,
                                                .instead_of = "epochs"}));
  group.add(bind<Optional<&R::epochs, double>>({.name = "epochs",
                                                .kind = Kind::number,
                                                .value_name = "N",
                                                .help = "passes over the data, also in parts such as 0.5",
                                                .example = "3",
                                                .min = 0,
                                                .max = 1e9,
                                                .instead_of = "steps"}));
}

}  // namespace plimsoll::recipe_rows
