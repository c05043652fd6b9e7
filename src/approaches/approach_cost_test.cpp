#include "approaches/approach_cost.h"

#include <gtest/gtest.h>

#include "approaches/generation.h"
#include "base/error.h"
#include "config/model_catalog.h"

namespace plimsoll {
namespace {

constexpr double kParameters = 8'030'261'248;  // Llama 3.1 8B
constexpr double kAdapters = 41'943'040;       // of r = 16 on its linear layers
// 32 layers of 8 key heads of 128, keys and values, 2 bytes each.
constexpr double kTokenBytes = 32.0 * 2 * 8 * 128 * 2;

struct Case {
  Catalog catalog = load_catalog();
  ApproachQuestion question;
  Case() {
    question.model = parse_hf_config(find_catalog_model("llama-3.1-8b")->config, "llama-3.1-8b");
    question.reward_model = question.model;
    question.device = &require_device(catalog, "h100-80g", "--devices");
    question.constants = load_time_constants();
    question.habits = time_habits("fsdp2");
    question.least_devices = question.most_devices = 8;
    question.usd_per_device_hour = 2;
  }
  ApproachPlan plan(std::string_view name) const {
    for (const ApproachPlan& each : compare_approaches(question))
      if (each.name == name) return each;
    ADD_FAILURE() << name;
    return {};
  }
};

double states(const ApproachPlan& plan) {
  double sum = 0;
  for (const ResidentModel& model : plan.models) sum += model.bytes();
  return sum;
}
const ApproachPhase& phase(const ApproachPlan& plan, std::string_view name) {
  for (const ApproachPhase& each : plan.phases)
    if (each.name == name) return each;
  throw std::runtime_error("no phase " + std::string(name));
}

TEST(Approaches, StatesAreTheSumsOfTheModelsInMemory) {
  const Case one;
  // A trained parameter: 2 + 4 + 12 bytes; a frozen one: 2.
  EXPECT_NEAR(states(one.plan("full")) / (18 * kParameters), 1, 1e-5);
  EXPECT_NEAR(states(one.plan("DPO")) / ((18 + 2) * kParameters), 1, 1e-5);
  EXPECT_NEAR(states(one.plan("GRPO")) / ((18 + 2 + 2) * kParameters), 1, 1e-5);
  EXPECT_NEAR(states(one.plan("PPO")) / ((18 + 2 + 2 + 18) * kParameters), 1, 1e-5);
  // Adapters in f32: weight, gradient, two states.
  EXPECT_NEAR(states(one.plan("LoRA")) / (2 * kParameters + 16 * kAdapters), 1, 1e-5);
}

TEST(Approaches, AdaptersNeedNoCopyOfTheReference) {
  Case one;
  one.question.reinforcement = TuneMethod::lora;
  const double policy = 2 * kParameters + 16 * kAdapters;
  EXPECT_NEAR(states(one.plan("DPO")) / policy, 1, 1e-5);
  EXPECT_NEAR(states(one.plan("GRPO")) / (policy + 2 * kParameters), 1, 1e-5);
  EXPECT_NEAR(states(one.plan("PPO")) / (2 * policy + 2 * kParameters), 1, 1e-5);
  one.question.reward_model.reset();  // a program judges
  EXPECT_NEAR(states(one.plan("GRPO")) / policy, 1, 1e-5);
}

TEST(Approaches, GeneratingHoldsStatesPolicyAndCache) {
  const Case one;
  const ApproachPlan plan = one.plan("GRPO");
  ASSERT_TRUE(plan.fits);
  // 64 prompts of 8 answers on 8 devices: 64 sequences each, of 768 tokens, whole blocks of 16.
  EXPECT_EQ(plan.generate_tensor, 1);
  EXPECT_EQ(plan.concurrent, 64);
  const double known = 22 * kParameters / 8 + 2 * kParameters + 64 * 768 * kTokenBytes;
  const double workspace = phase(plan, "generate").bytes - known;
  EXPECT_GT(workspace, 1e9);  // context, a pass of 8192 tokens, logits
  EXPECT_LT(workspace, 4e9);
}

TEST(Approaches, SaysHowManyDevicesWouldDo) {
  Case one;
  one.question.least_devices = one.question.most_devices = 1;
  const ApproachPlan plan = one.plan("full");
  ASSERT_FALSE(plan.fits);
  ASSERT_GT(plan.devices_needed, 1);
  one.question.least_devices = one.question.most_devices = plan.devices_needed;
  EXPECT_TRUE(one.plan("full").fits);
  EXPECT_EQ(one.plan("full").devices_needed, 0);
}

TEST(Approaches, WavesOfEqualSequencesTakeTurns) {
  const Case one;
  GenerationQuestion ask;
  ask.config = &one.question.model;
  ask.model = shape_of(one.question.model);
  ask.device = one.question.device;
  ask.constants = one.question.constants;
  ask.sequences = 256;
  const Generation all = generation(ask);
  EXPECT_EQ(all.concurrent, 256);
  ask.other_bytes = static_cast<double>(ask.device->memory_bytes) - all.bytes + 128 * 768 * kTokenBytes;
  const Generation half = generation(ask);
  EXPECT_EQ(half.concurrent, 128);
  EXPECT_NEAR(half.bytes, static_cast<double>(ask.device->memory_bytes), 768 * kTokenBytes);
  ask.sequences = 128;
  EXPECT_NEAR(half.seconds, 2 * generation(ask).seconds, 1e-9);
  EXPECT_LT(all.seconds, half.seconds);
  ask.other_bytes = static_cast<double>(ask.device->memory_bytes);
  EXPECT_EQ(generation(ask).concurrent, 0);
}

TEST(Approaches, AStepIsTheSumOfItsPhases) {
  const Case one;
  for (const ApproachPlan& plan : compare_approaches(one.question)) {
    ASSERT_TRUE(plan.fits) << plan.name << plan.what_stops;
    if (plan.steps == 0) continue;
    double seconds = 0, most = 0;
    for (const ApproachPhase& each : plan.phases) seconds += each.seconds, most = std::max(most, each.bytes);
    EXPECT_NEAR(seconds, plan.step_seconds, 1e-9) << plan.name;
    EXPECT_EQ(plan.peak_bytes, most) << plan.name;
    EXPECT_EQ(plan.steps, (10'000 + 63) / 64);
    EXPECT_NEAR(plan.usd, plan.steps * plan.step_seconds / 3600 * 8 * 2, 1e-9) << plan.name;
    EXPECT_NEAR(plan.calls_even * (compare_approaches(one.question)[0].usd_per_call - plan.usd_per_call), plan.usd,
                1e-6);
  }
}

TEST(Approaches, SeparateDevicesGenerateWithoutTheStates) {
  Case one;
  one.question.placement = Placement::separate;
  const ApproachPlan plan = one.plan("PPO");
  ASSERT_TRUE(plan.fits);
  EXPECT_EQ(plan.generators, 1);
  EXPECT_LT(phase(plan, "generate").bytes, 2 * kParameters + 64 * 768 * kTokenBytes + 4e9);
  EXPECT_GT(phase(plan, "train").bytes, 40 * kParameters / 8);
  EXPECT_NEAR(plan.usd, plan.hours * 9 * 2, 1e-9);
}

TEST(Approaches, TheLeastDevicesAreFound) {
  Case one;
  one.question.least_devices = 1, one.question.most_devices = 64;
  EXPECT_EQ(one.plan("QLoRA").devices, 1);
  EXPECT_EQ(one.plan("full").devices, 2);  // 144.5 GB of states and one layer's work
  EXPECT_GE(one.plan("PPO").devices, 4);   // 321 GB
  one.question.most_devices = 1;
  const ApproachPlan refused = one.plan("PPO");
  EXPECT_FALSE(refused.fits);
  EXPECT_FALSE(refused.what_stops.empty());
}

// One device needs no link; more of them can't be spoken of without.
TEST(Approaches, ADeviceWithoutALinkStandsAlone) {
  Case one;
  Device alone = *one.question.device;
  alone.link = alone.host_link = alone.network = 0;
  one.question.device = &alone;
  one.question.least_devices = 1, one.question.most_devices = 8;
  for (const ApproachPlan& plan : compare_approaches(one.question)) {
    if (plan.fits && plan.steps > 0) {
      EXPECT_EQ(plan.devices, 1) << plan.name;
    }
  }
  EXPECT_TRUE(one.plan("QLoRA").fits);
  EXPECT_FALSE(one.plan("full").fits);
}

// A faster micro-batch that fills the device is not taken where a slower one leaves a tenth.
TEST(Approaches, TrainingLeavesSomeRoom) {
  Case one;
  one.question.least_devices = one.question.most_devices = 1;
  const ApproachPlan plan = one.plan("QLoRA");
  ASSERT_TRUE(plan.fits);
  EXPECT_LE(phase(plan, "train").bytes, 0.9 * static_cast<double>(one.question.device->memory_bytes));
  EXPECT_GT(plan.micro_batch, 1);
}

TEST(Approaches, WithoutInstructionsTrainingNeverPays) {
  Case one;
  one.question.instruction_tokens = 0;
  EXPECT_LT(one.plan("LoRA").calls_even, 0);
  one.question.least_devices = 0;
  EXPECT_THROW(compare_approaches(one.question), Error);
  one.question.least_devices = 1, one.question.most_devices = 9'999'999'999;
  EXPECT_THROW(compare_approaches(one.question), Error);
}

}  // namespace
}  // namespace plimsoll
