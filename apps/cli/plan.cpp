#include <unistd.h>

#include <memory>

#include "base/error.h"
#include "base/text.h"
#include "cli/arguments/common_arguments.h"
#include "cli/arguments/recipe_options.h"
#include "cli/commands.h"
#include "cli/predict/plan_engine.h"
#include "cli/text/output.h"
#include "cli/text/plan_text.h"
#include "formats/output_file.h"
#include "setup/run_sources.h"
#include "train/trainer.h"

namespace plimsoll::cli {
namespace {

struct PlanOptions {
  std::vector<std::string> sources;  // MODEL, RECIPE.toml, or both
  std::vector<RecipeFlag> flags;
  std::string buffers, ir_folder;
  EngineOptions engine;
  bool json = false;
};

Recipe recipe_of(const PlanOptions& options) {
  std::string model, file;
  for (const std::string& source : options.sources) {
    std::string& place = is_recipe_file(source) ? file : model;
    if (!place.empty())
      throw caller_error(one_line(source, 80), "a second model or recipe",
                         "give one MODEL, and at most one RECIPE.toml");
    place = source;
  }
  Recipe recipe = load_recipe(file, options.flags);
  if (!model.empty()) recipe.model = model;
  if (recipe.model.empty())
    throw caller_error("MODEL", "is missing", "for example: plimsoll plan SmolLM2-135M-Instruct.gguf --memory 1GiB");
  return recipe;
}

int run_plan(const PlanOptions& options) {
  Recipe recipe = recipe_of(options);
  if (!options.engine.catalog.empty() && options.engine.device.empty())
    throw caller_error("--catalog", "has devices, and none is asked for", "--device NAME with --engine or --serve");
  const bool elsewhere = !options.engine.serve.empty() || !options.engine.engine.empty();
  if (elsewhere && recipe.memory_auto) recipe.memory_bytes = free_memory_line();
  if (!options.engine.serve.empty()) return plan_serving(recipe, options.engine, options.json);
  if (!options.engine.engine.empty()) return plan_on_engine(recipe, options.engine, options.json);
  if (!options.engine.layout.empty() || !options.engine.weights.empty() || !options.engine.optimizer.empty() ||
      options.engine.autocast || !options.engine.device.empty() || !options.engine.trace.empty())
    throw caller_error("--engine", "is missing",
                       "--layout, --weights, --engine-optimizer, --autocast, --device and --trace go with it");
  const PlanReport report = plan_training(recipe, !options.buffers.empty(), options.ir_folder);
  if (!options.buffers.empty()) write_file_atomically(options.buffers, plan_buffers_csv(report));
  if (options.json) write_result(plan_report_json(report));
  else write_result(plan_text(report, inspect_terminal(STDOUT_FILENO)));
  if (report.fits) return 0;
  throw does_not_fit(report);
}

}  // namespace

Command plan_command() {
  auto options = std::make_shared<PlanOptions>();
  return {
      .name = "plan",
      .summary = "what a run needs, byte by byte, without running",
      .examples = {"plimsoll plan SmolLM2-135M-Instruct.gguf --memory 1GiB",
                   "plimsoll plan Llama-3.2-1B/config.json --method full --seq-len 1024 --buffers buffers.csv --json"},
      .arguments =
          {{.name = "[MODEL]",
            .value_name = "MODEL…",
            .help = "folder, .gguf file, config.json, hub id or a name of the catalogue; a RECIPE.toml, too",
            .target = &options->sources},
           {.name = "--buffers",
            .value_name = "FILE.csv",
            .help = "write one row a buffer: name, category, place, life",
            .target = &options->buffers},
           {.name = "--dump-ir",
            .value_name = "DIR",
            .help = "write the program as text, after each pass and of each phase",
            .target = &options->ir_folder},
           {.name = "--engine",
            .value_name = "NAME",
            .help = "predict another engine instead: torch, fsdp2, deepspeed, megatron, litgpt, … (docs/engines.md)",
            .target = &options->engine.engine},
           {.name = "--layout",
            .value_name = "dp=8,tp=2,…",
            .help = "with --engine: ranks of dp, tp, pp, cp, ep, vpp; zero=0 to 3 (FSDP: 3); sp=1; offload=optimizer, "
                    "params or all; "
                    "offload_to=cpu or nvme; stages=3+4+4+1; again=core_attn+mlp; … (docs/engines.md)",
            .target = &options->engine.layout},
           {.name = "--weights",
            .value_name = "TYPE",
            .help = "with --engine and --serve: base weights as f32, bf16, f16, int8, nf4, nf4-dq, gptq4; with --serve "
                    "llama.cpp "
                    "and plimsoll also as GGUF packs them: q8_0, q4_k_m, …",
            .target = &options->engine.weights},
           {.name = "--engine-optimizer",
            .value_name = "NAME",
            .help = "with --engine: adamw_foreach, adamw_fused, adamw_8bit, sgd, sgd_momentum, adafactor, muon",
            .target = &options->engine.optimizer},
           {.name = "--device",
            .value_name = "NAME",
            .help = "with --engine: how long a step takes on this one of `plimsoll devices`, and for how much; with "
                    "--serve, "
                    "too, its memory stands for --memory",
            .target = &options->engine.device},
           {.name = "--trace",
            .value_name = "FILE.json",
            .help = "with --device: write the step's timeline as a Chrome trace",
            .target = &options->engine.trace},
           catalog_argument(options->engine.catalog),
           {.name = "--serve",
            .value_name = "NAME",
            .help = "how many users vllm, llama.cpp or plimsoll can serve in --memory, --seq-len tokens each",
            .target = &options->engine.serve},
           {.name = "--kv",
            .value_name = "TYPE",
            .help = "with --serve: cached values as f16, fp8, q8_0, q4_0",
            .target = &options->engine.kv},
           {.name = "--autocast",
            .value_name = "",
            .help = "with --engine: products in bf16, the rest as the weights are",
            .target = &options->engine.autocast}},
      .recipe_flags = &options->flags,
      .json = &options->json,
      .run = [options] { return run_plan(*options); }};
}

}  // namespace plimsoll::cli
