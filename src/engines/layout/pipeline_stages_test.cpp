#include "engines/layout/pipeline_stages.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace plimsoll {
namespace {

using Chunks = std::vector<int64_t>;

EngineLayout layout(int64_t pipeline, int64_t chunks = 1) {
  EngineLayout made;
  made.pipeline = pipeline;
  made.virtual_stages = chunks;
  return made;
}

TEST(PipelineStages, WhatDoesNotDivideIsInTheMiddle) {
  EXPECT_EQ(pipeline_chunks(layout(4), 12), (Chunks{3, 3, 3, 3}));
  EXPECT_EQ(pipeline_chunks(layout(4), 14), (Chunks{3, 4, 4, 3}));
  EXPECT_EQ(pipeline_chunks(layout(2, 2), 6), (Chunks{1, 2, 2, 1}));
}

// Megatron-Core's --decoder-first-pipeline-num-layers and -last-.
TEST(PipelineStages, EndsOfAnotherDepth) {
  EXPECT_EQ(uneven_chunks(layout(4), 12, 2, 2), (Chunks{2, 4, 4, 2}));
  EXPECT_EQ(uneven_chunks(layout(4), 13, 1, 0), (Chunks{1, 4, 4, 4}));
  EXPECT_EQ(uneven_chunks(layout(2), 12, 5, 7), (Chunks{5, 7}));
  EXPECT_EQ(uneven_chunks(layout(3, 2), 16, 4, 4), (Chunks{2, 4, 2, 2, 4, 2}));
  EXPECT_THROW(uneven_chunks(layout(4), 12, 2, 0), Error);
  EXPECT_THROW(uneven_chunks(layout(4), 12, 12, 2), Error);
  EXPECT_THROW(uneven_chunks(layout(2), 12, 5, 6), Error);
  EXPECT_THROW(uneven_chunks(layout(3, 2), 13, 3, 4), Error);
}

TEST(PipelineStages, NamedStagesHaveToHoldTheModel) {
  EngineLayout named = layout(3);
  named.chunk_layers = {3, 6, 3};
  EXPECT_EQ(pipeline_chunks(named, 12), (Chunks{3, 6, 3}));
  EXPECT_THROW(pipeline_chunks(named, 13), Error);
  named.chunk_layers = {6, 6};
  EXPECT_THROW(pipeline_chunks(named, 12), Error);
}

TEST(PipelineStages, ChunksGoRoundTheStages) {
  using Layers = std::vector<std::vector<size_t>>;
  EXPECT_EQ(layers_of_stage({1, 2, 2, 1}, 2, 0), (Layers{{0}, {3, 4}}));
  EXPECT_EQ(layers_of_stage({1, 2, 2, 1}, 2, 1), (Layers{{1, 2}, {5}}));
}

TEST(PipelineStages, EarlierChunksHoldMoreMicroBatches) {
  using Held = std::vector<double>;
  EXPECT_EQ(micro_batches_in_flight(layout(4), 8, 0), Held{4});
  EXPECT_EQ(micro_batches_in_flight(layout(4), 8, 3), Held{1});
  EXPECT_EQ(micro_batches_in_flight(layout(4), 2, 0), Held{2});
  EXPECT_EQ(micro_batches_in_flight(layout(4, 2), 8, 3), (Held{4, 1}));
  EXPECT_EQ(micro_batches_in_flight(layout(4, 2), 8, 1), (Held{5, 4}));  // round to the first chunk again
  EXPECT_EQ(micro_batches_in_flight(layout(4, 2), 4, 0), (Held{4, 4}));  // no more than there are
}

}  // namespace
}  // namespace plimsoll
