// `plimsoll serve-plan`: what is asked, and what the simulation and the catalogue's prices answer.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "serve/serving_cost.h"
#include "serve/serving_simulation.h"

namespace plimsoll::cli {

struct ServeOptions {
  std::string model, device, weights = "16bit", kv = "16bit", catalog;
  int64_t tensor = 0, users = 0, prompt = 512, output = 256, at_once = 0, seed = 0;
  double rate = 0, spread = 0, price = 0, target_first = 0, target_between = 0, buy_price = 0, power_price = 0.15,
         utilisation = 1;
  bool together = false, json = false;
};

// Replicas that meet the targets, or one where there are none.
struct Answer {
  ServingModel model;
  ServingResult result;
  int64_t replicas = 1;
  std::optional<int64_t> most_users;
  int64_t devices() const { return replicas * model.setup.tensor; }
};

// Another number of devices on which nobody waits for room: the cache holds all users at once.
struct Alternative {
  int64_t tensor = 1, replicas = 1;
  ServingResult result;
  int64_t devices() const { return tensor * replicas; }
};

struct ServeReport {
  std::string device;
  int64_t device_bytes = 0;
  Answer answer;
  double output_rate = 0, total_rate = 0;  // tokens a second of all replicas: written; with those of prompts
  double price = 0;                        // USD of one device an hour; 0: not known
  std::string price_source;
  ServingMoney money;
  std::vector<ApiComparison> apis;
  double buy_usd = 0;                      // of one device; 0: not known
  std::optional<double> break_even_hours;  // empty: never, or no price
  std::vector<Alternative> alternatives;

  double usd_per_million(const Alternative& each) const;  // written tokens
};

// Throws caller Errors, and does_not_fit where no number of replicas meets the targets.
ServeReport serve_report(const ServeOptions& options);

}  // namespace plimsoll::cli
