#include "serve/serving_simulation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <random>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"

namespace plimsoll {
namespace {

constexpr int64_t kMostPasses = 20'000'000;
constexpr double kEnoughPasses = 1e6;
constexpr int64_t kManyUsers = 1600;  // on one replica

struct Request {
  double arrival = 0, first_token = 0, last_token = 0;
  int64_t prompt = 0, output = 0;
  int64_t read = 0;     // tokens of prompt (and of what was already said, after a preemption) in the cache
  int64_t to_read = 0;  // that many must be
  int64_t said = 0;
  int64_t blocks = 0;
  bool counted = false;
};

// A duration in seconds, and how often it was seen in a row: whoever is answered in a pass waits equally long.
struct Counted {
  double seconds = 0;
  int64_t times = 0;
};

void count(std::vector<Counted>& seen, double seconds) {
  if (!seen.empty() && seen.back().seconds == seconds) ++seen.back().times;
  else seen.push_back({seconds, 1});
}

Percentiles percentiles(std::vector<Counted>& seen) {
  std::sort(seen.begin(), seen.end(), [](const Counted& a, const Counted& b) { return a.seconds < b.seconds; });
  int64_t all = 0;
  for (const Counted& each : seen) all += each.times;
  const auto at = [&](double share) {
    int64_t rank = std::clamp<int64_t>(static_cast<int64_t>(std::ceil(share * static_cast<double>(all))), 1, all);
    for (const Counted& each : seen)
      if ((rank -= each.times) <= 0) return each.seconds;
    return 0.0;
  };
  if (seen.empty()) return {};
  return {at(0.5), at(0.95), at(0.99)};
}

class Simulation {
 public:
  Simulation(const ServingModel& model, const Traffic& traffic)
      : model_(model),
        traffic_(traffic),
        random_(traffic.seed + 1),
        blocks_(model.cache_tokens / model.setup.block_tokens),
        free_blocks_(blocks_) {
    // Twelve answers of each user, or of each request that is under way at the same time.
    const double at_once =
        traffic.users > 0 ? static_cast<double>(traffic.users) : traffic.rate * answer_seconds(1) + 1;
    const auto least = static_cast<int64_t>(12 * std::min(at_once, 1e6));
    total_ = traffic.requests > 0 ? traffic.requests : std::max<int64_t>(400, std::min<int64_t>(least, 20'000));
    // Long answers steady the figures by themselves: no more of them than a few million passes give.
    if (traffic.requests == 0) {
      const double room = static_cast<double>(model.cache_tokens) /
                          static_cast<double>(std::max<int64_t>(1, traffic.prompt_tokens + traffic.output_tokens));
      const double answered = std::clamp(std::min(at_once, room), 1.0, 256.0);
      const double passes = static_cast<double>(total_) * static_cast<double>(traffic.output_tokens) / answered;
      if (passes > kEnoughPasses)
        total_ = std::max<int64_t>(static_cast<int64_t>(std::min(2 * at_once, 200.0)) + 20,
                                   static_cast<int64_t>(static_cast<double>(total_) * kEnoughPasses / passes));
    }
    uncounted_ = total_ / 10;
    to_finish_ = total_ - uncounted_;
  }
  ServingResult run();

 private:
  int64_t length(int64_t mean) {
    if (traffic_.spread <= 0) return mean;
    std::uniform_real_distribution<double> share(1 - traffic_.spread, 1 + traffic_.spread);
    return std::max<int64_t>(1, static_cast<int64_t>(std::lround(static_cast<double>(mean) * share(random_))));
  }
  // Of a request beside others, so many altogether.
  double answer_seconds(int64_t at_once) const {
    const int64_t cached = at_once * (traffic_.prompt_tokens + traffic_.output_tokens / 2);
    const double read =
        pass_seconds(model_, traffic_.prompt_tokens, static_cast<double>(traffic_.prompt_tokens) / 2, 0, 0);
    return static_cast<double>(traffic_.output_tokens) * pass_seconds(model_, 0, 0, at_once, cached) +
           static_cast<double>(at_once) * read;
  }
  void plan_starts();
  void start_users();
  void arrive(double when) {
    if (arrived_ >= total_ && traffic_.users == 0) return;
    Request request;
    request.arrival = when;
    request.prompt = request.to_read = length(traffic_.prompt_tokens);
    request.output = length(traffic_.output_tokens);
    request.counted = arrived_ >= uncounted_ && arrived_ < total_;
    ++arrived_;
    if (arrived_ == uncounted_ + 1) window_from_ = when;
    if (arrived_ == total_) window_to_ = when;
    waiting_.push_back(request);
  }
  int64_t blocks_of(int64_t tokens) const { return ceil_div(tokens, model_.setup.block_tokens); }
  bool grow(Request& request, int64_t tokens) {
    if (tokens <= request.blocks * model_.setup.block_tokens) return true;
    const int64_t more = blocks_of(tokens) - request.blocks;
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
  bool in_window() const { return now_ > window_from_ && now_ <= window_to_; }

  int64_t blocks_, free_blocks_, total_ = 0, arrived_ = 0;
  int64_t uncounted_ = 0, to_finish_ = 0;  // the requests before the first that counts; counted ones without answer
  double now_ = 0, next_arrival_ = 0, busy_ = 0, decoding_sum_ = 0;
  int64_t decode_passes_ = 0;
  std::deque<Request> waiting_;
  std::vector<Request> running_;  // in the order in which they were let in
  std::vector<Counted> first_, between_;
  std::vector<double> starts_;  // of the users, the last first
  double window_from_ = std::numeric_limits<double>::max(), window_to_ = window_from_;
  int64_t window_output_ = 0, window_prompt_ = 0, window_requests_ = 0;
  struct {
    double seconds = 0, output = 0, prompt = 0;  // sums over the counted requests, seconds from question to answer
  } counted_;
  ServingResult result_;

  void take_rates();
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
  if (in_window()) {
    ++window_output_;
    if (request.first_token == 0) window_prompt_ += request.prompt;
  }
  if (request.counted) {
    if (request.first_token == 0) first_.push_back({now_ - request.arrival, 1});
    else count(between_, now_ - request.last_token);
  }
  if (request.first_token == 0) request.first_token = now_;
  request.last_token = now_;
  if (request.to_read > request.prompt) {  // read again after a preemption: what it had said is in the cache
    request.to_read = request.read = request.prompt;
  }
}

// Of everyone who was answered, and of everyone whose prompt is now read. Who has said all leaves.
void Simulation::give_out_tokens() {
  size_t stay = 0;
  for (size_t i = 0; i < running_.size(); ++i) {
    Request& request = running_[i];
    if (request.read == request.to_read) speak(request);
    if (request.said < request.output) {
      if (stay != i) running_[stay] = request;
      ++stay;
      continue;
    }
    free_blocks_ += request.blocks;
    if (request.counted) {
      --to_finish_;
      counted_.seconds += now_ - request.arrival;
      counted_.output += static_cast<double>(request.output);
      counted_.prompt += static_cast<double>(request.prompt);
    }
    if (in_window()) ++window_requests_;
    if (traffic_.users > 0) arrive(now_);
  }
  running_.resize(stay);
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

// Over the time from one question of a user to the next, so that the server is loaded evenly from the start.
void Simulation::plan_starts() {
  if (traffic_.users == 0) return;
  const int64_t held = model_.cache_tokens / (traffic_.prompt_tokens + traffic_.output_tokens);
  const int64_t at_once = std::clamp<int64_t>(held, 1, std::min(traffic_.users, model_.setup.most_sequences));
  const double cycle = answer_seconds(at_once) * static_cast<double>(traffic_.users) / static_cast<double>(at_once);
  std::uniform_real_distribution<double> share(0, 1);
  for (int64_t user = 0; user < traffic_.users; ++user)
    starts_.push_back(traffic_.together
                          ? 0
                          : cycle * (static_cast<double>(user) + share(random_)) / static_cast<double>(traffic_.users));
  std::sort(starts_.rbegin(), starts_.rend());
  const double first = starts_.back();
  for (double& start : starts_) start -= first;
}

void Simulation::start_users() {
  for (; !starts_.empty() && starts_.back() <= now_; starts_.pop_back()) arrive(starts_.back());
}

void Simulation::take_rates() {
  constexpr int64_t kEnoughRounds = 4;
  const double span = std::min(window_to_, now_) - window_from_;
  if (traffic_.users > 0 && (total_ >= kEnoughRounds * traffic_.users || span <= 0)) {
    // Each user has one question under way at any time (Little's law), so nothing depends on where counting ends.
    if (counted_.seconds <= 0) return;
    const double share = static_cast<double>(traffic_.users) / counted_.seconds;
    result_.output_tokens_per_second = share * counted_.output;
    result_.total_tokens_per_second = share * (counted_.output + counted_.prompt);
    result_.requests_per_second = share * static_cast<double>(total_ - uncounted_ - to_finish_);
    return;
  }
  if (span > 0) {
    result_.output_tokens_per_second = static_cast<double>(window_output_) / span;
    result_.total_tokens_per_second = static_cast<double>(window_output_ + window_prompt_) / span;
    result_.requests_per_second = static_cast<double>(window_requests_) / span;
  }
  if (traffic_.users > 0) return;
  // A queue that grows shows as answers that come slower than requests.
  result_.keeps_up = result_.requests_per_second > 0.9 * traffic_.rate;
}

ServingResult Simulation::run() {
  const int64_t longest = longest_request(traffic_);
  if (longest > model_.cache_tokens)
    throw caller_error("request", fmt::format("{} tokens, the cache holds {}", longest, model_.cache_tokens),
                       "more devices a replica with --tensor, shorter requests" + smaller_setups(model_.setup));
  std::exponential_distribution<double> gap(traffic_.rate > 0 ? traffic_.rate : 1);
  plan_starts();
  if (traffic_.users == 0) next_arrival_ = gap(random_);
  for (int64_t passes = 0; to_finish_ > 0 && passes < kMostPasses; ++passes) {
    if (traffic_.users == 0)
      while (arrived_ < total_ && next_arrival_ <= now_) {
        arrive(next_arrival_);
        next_arrival_ += gap(random_);
      }
    start_users();
    if (running_.empty() && waiting_.empty()) {
      if (traffic_.users == 0 && arrived_ == total_) break;
      now_ = traffic_.users == 0 ? next_arrival_ : starts_.back();
      continue;
    }
    pass();
  }
  result_.first_token_seconds = percentiles(first_);
  result_.between_tokens_seconds = percentiles(between_);
  take_rates();
  result_.busy_share = now_ > 0 ? busy_ / now_ : 0;
  result_.mean_decoding = decode_passes_ > 0 ? decoding_sum_ / static_cast<double>(decode_passes_) : 0;
  return result_;
}

}  // namespace

int64_t longest_request(const Traffic& traffic) {
  return static_cast<int64_t>(
             std::ceil((1 + traffic.spread) * static_cast<double>(traffic.prompt_tokens + traffic.output_tokens))) +
         1;
}

ServingResult simulate_serving(const ServingModel& model, const Traffic& traffic) {
  if (traffic.users <= 0 && traffic.rate <= 0)
    throw caller_error("traffic", "neither users nor a rate", "--users 32, or --rate 2 requests a second");
  if (traffic.prompt_tokens < 1 || traffic.output_tokens < 1)
    throw caller_error("traffic", "a request without tokens", "give --prompt and --output as 1 or more");
  // More users than there is room for only make the line longer: each that is left out waits its turn once a round.
  const int64_t room = model.cache_tokens / (traffic.prompt_tokens + traffic.output_tokens) + 1;
  const int64_t enough = std::max(kManyUsers, 2 * std::min(room, model.setup.most_sequences));
  if (traffic.users <= enough) return Simulation(model, traffic).run();
  Traffic fewer = traffic;
  fewer.users = enough;
  ServingResult result = Simulation(model, fewer).run();
  const double longer = static_cast<double>(traffic.users - enough) / std::max(1e-9, result.requests_per_second);
  for (double* seconds :
       {&result.first_token_seconds.p50, &result.first_token_seconds.p95, &result.first_token_seconds.p99})
    *seconds += longer;
  return result;
}

}  // namespace plimsoll
