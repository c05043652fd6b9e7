// A day at an inference server, pass by pass: requests come, wait, are read in chunks, and are answered token by token
// beside all others (continuous batching, Yu et al. 2022; chunked prefill, arXiv:2308.16369).
#pragma once

#include <cstdint>

#include "serve/serving_model.h"

namespace plimsoll {

struct Traffic {
  int64_t users = 0;      // each asks again as soon as it has its answer; 0: requests come by `rate`
  bool together = false;  // all users ask first at the same time; else at random over the time of one answer
  double rate = 0;        // requests a second, at random times (Poisson)
  int64_t prompt_tokens = 512, output_tokens = 256;
  double spread = 0;     // lengths are drawn evenly from (1 ± spread) times these
  int64_t requests = 0;  // simulated; 0: enough for steady percentiles
  uint64_t seed = 0;
};

struct Percentiles {
  double p50 = 0, p95 = 0, p99 = 0;
};

struct ServingResult {
  Percentiles first_token_seconds;                                   // from a request's arrival to its first token
  Percentiles between_tokens_seconds;                                // from one token to the next
  double output_tokens_per_second = 0, total_tokens_per_second = 0;  // of the replica; total with prompts
  double requests_per_second = 0;
  double busy_share = 0;        // of the time, passes run
  double mean_decoding = 0;     // sequences that get a token in a pass
  double peak_cache_share = 0;  // of the blocks
  int64_t preemptions = 0;      // sequences thrown out of the cache and read again later
  bool keeps_up = true;         // with a rate: the queue does not grow without end
};

// Tokens that the cache must hold for the longest request of this traffic.
int64_t longest_request(const Traffic& traffic);

// The first tenth of the requests is not counted. Users go on asking until the last counted request is answered; with a
// rate, tokens a second are those between the first counted arrival and the last. Throws a caller Error for traffic
// that can't be (no users and no rate, a request longer than the cache).
ServingResult simulate_serving(const ServingModel& model, const Traffic& traffic);

}  // namespace plimsoll
