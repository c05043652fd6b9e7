// What a training run leaves behind: a PEFT adapter, or a model in the Hugging Face layout.
#pragma once

#include <string>

#include "setup/run_sources.h"
#include "train/train_session.h"

namespace plimsoll {

// Writes `out`/adapter or `out`/model through the session's export phase and returns that folder.
std::string write_result_files(const std::string& out, const RunSources& sources, const TrainPlan& plan,
                               TrainSession& session);

}  // namespace plimsoll
