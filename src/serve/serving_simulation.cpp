#include "serve/serving_simulation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <random>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"

namespace plimsoll {
namespace {

constexpr int64_t kMostPasses = 20'000'000;

struct Request {
  double arrival = 0, first_token = 0, last_token = 0;
  int64_t prompt = 0, output = 0;
  int64_t read = 0;     // tokens of prompt (and of what was already said, after a preemption) in the cache
  int64_t to_read = 0;  // that many must be
  int64_t said = 0;
  int64_t blocks = 0;
  bool counted = false;
};

class Simulation {
 public:
  Simulation(const ServingModel& model, const Traffic& traffic)
      : model_(model),
        traffic_(traffic),
        random_(traffic.seed + 1),
        blocks_(model.cache_tokens / model.setup.block_tokens),
        free_blocks_(blocks_) {
    const int64_t least = traffic.users > 0 ? 12 * traffic.users : 0;
    total_ = traffic.requests > 0 ? traffic.requests : std::max<int64_t>(400, std::min<int64_t>(least, 20'000));
  }
  ServingResult run();

 private:
  int64_t length(int64_t mean) {
    if (traffic_.spread <= 0) return mean;
    std::uniform_real_distribution<double> share(1 - traffic_.spread, 1 + traffic_.spread);
    return std::max<int64_t>(1, static_cast<int64_t>(std::lround(static_cast<double>(mean) * share(random_))));
  }
  void arrive(double when) {
    if (arrived_ == total_) return;
    Request request;
    request.arrival = when;
    request.prompt = request.to_read = length(traffic_.prompt_tokens);
    request.output = length(traffic_.output_tokens);
    request.counted = arrived_ >= total_ / 10;
    ++arrived_;
    waiting_.push_back(request);
  }
  int64_t blocks_of(int64_t tokens) const { return ceil_div(tokens, model_.setup.block_tokens); }
  bool grow(Request& request, int64_t tokens) {
    const int64_t more = std::max<int64_t>(0, blocks_of(tokens) - request.blocks);
    if (more > free_blocks_) return false;
    free_blocks_ -= more;
    request.blocks += more;
    return true;
  }
  void preempt_last();
  void make_room();
  // What one pass reads of prompts: tokens, and the keys that they look at.
  struct Prefill {
    int64_t tokens = 0;
    double keys = 0;
  };
  Prefill read_prompts(int64_t budget);
  void speak(Request& request);
  void give_out_tokens();
  void pass();

  const ServingModel& model_;
  const Traffic& traffic_;
  std::mt19937_64 random_;
  int64_t blocks_, free_blocks_, total_ = 0, arrived_ = 0, finished_ = 0;
  double now_ = 0, next_arrival_ = 0, busy_ = 0, decoding_sum_ = 0;
  int64_t decode_passes_ = 0;
  std::deque<Request> waiting_;
  std::vector<Request> running_;  // in the order in which they were let in
  std::vector<double> first_, between_;
  double counted_from_ = -1, counted_to_ = 0;
  int64_t counted_output_ = 0, counted_prompt_ = 0, counted_requests_ = 0;
  ServingResult result_;
};

// The one that came last gives its blocks back, and must read again what it had.
void Simulation::preempt_last() {
  Request request = running_.back();
  running_.pop_back();
  free_blocks_ += request.blocks;
  request.blocks = 0;
  request.read = 0;
  request.to_read = request.prompt + request.said;
  waiting_.push_front(request);
  ++result_.preemptions;
}

// Room for the next token of everyone who is answered; the latest leave where there is none.
void Simulation::make_room() {
  for (size_t i = 0; i < running_.size(); ++i) {
    while (i < running_.size() && running_[i].read == running_[i].to_read &&
           !grow(running_[i], running_[i].to_read + running_[i].said + 1)) {
      if (running_.size() == 1) break;
      preempt_last();
    }
  }
}

// First those that are being read, then those that wait.
Simulation::Prefill Simulation::read_prompts(int64_t budget) {
  Prefill prefill;
  const auto read = [&](Request& request) {
    const int64_t chunk = std::min(budget, request.to_read - request.read);
    if (chunk <= 0) return;
    if (!grow(request, request.read + chunk)) return;
    prefill.keys += static_cast<double>(chunk) * (static_cast<double>(request.read) + static_cast<double>(chunk) / 2);
    request.read += chunk;
    prefill.tokens += chunk;
    budget -= chunk;
  };
  for (Request& request : running_)
    if (request.read < request.to_read) read(request);
  while (budget > 0 && !waiting_.empty() && static_cast<int64_t>(running_.size()) < model_.setup.most_sequences) {
    if (blocks_of(waiting_.front().to_read + 1) > free_blocks_) break;  // let in only what fits whole
    running_.push_back(waiting_.front());
    waiting_.pop_front();
    grow(running_.back(), running_.back().to_read + 1);
    read(running_.back());
  }
  return prefill;
}

// The next token of `request`, now.
void Simulation::speak(Request& request) {
  ++request.said;
  if (request.counted) {
    if (counted_from_ < 0) counted_from_ = request.arrival;
    if (request.first_token == 0) first_.push_back(now_ - request.arrival);
    else between_.push_back(now_ - request.last_token);
    ++counted_output_;
    counted_to_ = now_;
  }
  if (request.first_token == 0) request.first_token = now_;
  request.last_token = now_;
  if (request.to_read > request.prompt) {  // read again after a preemption: what it had said is in the cache
    request.to_read = request.read = request.prompt;
  }
}

// Of everyone who was answered, and of everyone whose prompt is now read. Who has said all leaves.
void Simulation::give_out_tokens() {
  std::vector<Request> stay;
  stay.reserve(running_.size());
  for (Request& request : running_) {
    if (request.read == request.to_read) speak(request);
    if (request.said < request.output) {
      stay.push_back(request);
      continue;
    }
    free_blocks_ += request.blocks;
    ++finished_;
    if (request.counted) {
      counted_prompt_ += request.prompt;
      ++counted_requests_;
    }
    if (traffic_.users > 0) arrive(now_);
  }
  running_ = std::move(stay);
}

void Simulation::pass() {
  make_room();
  int64_t decoding = 0, cached = 0;
  for (const Request& request : running_)
    if (request.read == request.to_read) {
      ++decoding;
      cached += request.prompt + request.said;
    }
  const auto [tokens, keys] = read_prompts(model_.setup.step_tokens - decoding);
  const double seconds =
      pass_seconds(model_, tokens, tokens > 0 ? keys / static_cast<double>(tokens) : 0, decoding, cached);
  now_ += seconds;
  busy_ += seconds;
  if (decoding > 0) decoding_sum_ += static_cast<double>(decoding), ++decode_passes_;
  result_.peak_cache_share =
      std::max(result_.peak_cache_share, 1 - static_cast<double>(free_blocks_) / static_cast<double>(blocks_));
  give_out_tokens();
}

Percentiles percentiles(std::vector<double>& values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto at = [&](double share) {
    const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(values.size())));
    return values[std::clamp<size_t>(rank, 1, values.size()) - 1];
  };
  return {at(0.5), at(0.95), at(0.99)};
}

ServingResult Simulation::run() {
  const int64_t longest = static_cast<int64_t>(
      std::ceil((1 + traffic_.spread) * static_cast<double>(traffic_.prompt_tokens + traffic_.output_tokens)) + 1);
  if (longest > model_.cache_tokens)
    throw caller_error("request", fmt::format("{} tokens, the cache holds {}", longest, model_.cache_tokens),
                       "more devices a replica with --tensor, a smaller cache with --kv 8bit, or shorter requests");
  std::exponential_distribution<double> gap(traffic_.rate > 0 ? traffic_.rate : 1);
  for (int64_t user = 0; user < traffic_.users; ++user) arrive(0);
  if (traffic_.users == 0) next_arrival_ = gap(random_);
  for (int64_t passes = 0; finished_ < total_ && passes < kMostPasses; ++passes) {
    if (traffic_.users == 0)
      while (arrived_ < total_ && next_arrival_ <= now_) {
        arrive(next_arrival_);
        next_arrival_ += gap(random_);
      }
    if (running_.empty() && waiting_.empty()) {
      if (arrived_ == total_) break;
      now_ = next_arrival_;
      continue;
    }
    pass();
  }
  result_.first_token_seconds = percentiles(first_);
  result_.between_tokens_seconds = percentiles(between_);
  const double span = counted_to_ - std::max(0.0, counted_from_);
  if (span > 0) {
    result_.output_tokens_per_second = static_cast<double>(counted_output_) / span;
    result_.total_tokens_per_second = static_cast<double>(counted_output_ + counted_prompt_) / span;
    result_.requests_per_second = static_cast<double>(counted_requests_) / span;
  }
  result_.busy_share = now_ > 0 ? busy_ / now_ : 0;
  result_.mean_decoding = decode_passes_ > 0 ? decoding_sum_ / static_cast<double>(decode_passes_) : 0;
  // A queue that grows shows as answers that come slower than requests.
  if (traffic_.users == 0) result_.keeps_up = result_.requests_per_second > 0.9 * traffic_.rate;
  return result_;
}

}  // namespace

ServingResult simulate_serving(const ServingModel& model, const Traffic& traffic) {
  if (traffic.users <= 0 && traffic.rate <= 0)
    throw caller_error("traffic", "neither users nor a rate", "--users 32, or --rate 2 requests a second");
  if (traffic.prompt_tokens < 1 || traffic.output_tokens < 1)
    throw caller_error("traffic", "a request without tokens", "give --prompt and --output as 1 or more");
  return Simulation(model, traffic).run();
}

}  // namespace plimsoll
