#include "cost/pipeline.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace plimsoll {
namespace {

PipelineProblem even(int64_t stages, int64_t chunks_each, int64_t micro_batches) {
  PipelineProblem problem;
  problem.stages = stages;
  problem.micro_batches = micro_batches;
  problem.chunks.assign(static_cast<size_t>(stages * chunks_each), {1.0, 2.0});
  return problem;
}

TEST(Pipeline, EvenStagesTakeTheTextbookTime) {
  // (m + p - 1) · (forward + backward): arXiv:2104.04473, section 2.2.
  for (const int64_t p : {1, 2, 4, 8})
    for (const int64_t m : {8, 9, 32})
      EXPECT_DOUBLE_EQ(simulate_pipeline(even(p, 1, m)).seconds, 3.0 * double(m + p - 1));
}

TEST(Pipeline, InterleavingShrinksTheBubble) {
  // Ideal v·m·3, bubble (p-1)·3 of one chunk: the bubble is v times smaller beside the work.
  for (const int64_t v : {2, 3})
    EXPECT_DOUBLE_EQ(simulate_pipeline(even(4, v, 16)).seconds, 3.0 * double(v * 16 + 3)) << v;
}

TEST(Pipeline, OrderOfWorkHolds) {
  const PipelineResult result = simulate_pipeline(even(4, 2, 8), true);
  EXPECT_EQ(result.events.size(), 4U * 2 * 2 * 8);
  std::map<int64_t, double> free_at;
  for (const PipelineEvent& event : result.events) {
    EXPECT_GE(event.start, free_at[event.stage]);  // one thing at a time
    free_at[event.stage] = event.end;
  }
}

TEST(Pipeline, EveryCountOfMicroBatchesEnds) {
  for (int64_t p = 1; p <= 6; ++p)
    for (int64_t v = 1; v <= 3; ++v)
      for (int64_t m = 1; m <= 20; ++m) {
        const PipelineResult result = simulate_pipeline(even(p, v, m));
        EXPECT_GE(result.seconds, 3.0 * double(m * v)) << p << " " << v << " " << m;
      }
}

TEST(Pipeline, TheShortWayTakesTheSameTime) {
  std::mt19937 random(7);
  std::uniform_real_distribution<double> seconds(0.5, 2.0);
  for (int round = 0; round < 3000; ++round) {
    PipelineProblem problem;
    problem.stages = 1 + int64_t(random() % 12);
    const int64_t v = 1 + int64_t(random() % 2);
    problem.micro_batches = problem.stages * (1 + int64_t(random() % 20));
    problem.transfer_seconds = round % 2 == 0 ? 0.0 : 0.05;
    const StageSeconds layer{seconds(random), seconds(random)};
    problem.chunks.assign(size_t(problem.stages * v), layer);
    problem.chunks.front().forward += 0.1 * seconds(random);  // the embedding
    problem.chunks.back().forward += seconds(random);         // the head
    problem.chunks.back().backward += seconds(random);
    const double exact = simulate_pipeline(problem).seconds;
    EXPECT_NEAR(pipeline_seconds(problem) / exact, 1.0, 1e-9)
        << problem.stages << " " << v << " " << problem.micro_batches;
  }
}

}  // namespace
}  // namespace plimsoll
