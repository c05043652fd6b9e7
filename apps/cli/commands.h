// One file per command: its options as a plain struct, its arguments as data, and a run_… that calls the library.
#pragma once

#include "cli/arguments/arguments.h"

namespace plimsoll::cli {

Command inspect_command();
Command plan_command();
Command fit_command();
Command train_command();
Command generate_command();
Command chat_command();
Command data_command();
Command eval_command();
Command merge_command();
Command quantize_command();
Command tokenize_command();
Command new_command();
Command tokenizer_command();
Command render_command();
Command probe_command();
Command devices_command();
Command search_command();
Command compare_command();
Command export_command();
Command calibrate_command();
Command scale_command();
Command serve_plan_command();
Command approaches_command();
Command validate_command();
Command help_recipe_command();  // hidden: docs/recipes.md

}  // namespace plimsoll::cli
