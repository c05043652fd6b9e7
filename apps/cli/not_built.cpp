// What this build has no library for yet: each ends with a plain refusal.
#include "base/error.h"
#include "train/evaluate.h"
#include "train/generate.h"
#include "train/merge.h"

namespace plimsoll {
namespace {
Error not_built(const char* command) {
  return caller_error(command, "is not available in this build", "use a build that has it");
}
}  // namespace

struct Generator::State {};
Generator::Generator(const std::string&, const std::string&, int64_t) { throw not_built("generate"); }
Generator::~Generator() = default;
GenerateReport Generator::complete(const std::string&, const SamplingOptions&, const OnText&) { throw not_built("generate"); }
GenerateReport Generator::reply(const std::vector<ChatMessage>&, const SamplingOptions&, const OnText&) { throw not_built("chat"); }
EvaluateReport run_evaluation(const Recipe&) { throw not_built("eval"); }
void run_merge(const MergeOptions&) { throw not_built("merge"); }

}  // namespace plimsoll
