// Ways to make a model do a task, side by side: by its prompt alone, by training its weights on examples (all of them,
// or LoRA on a base of 16 or 4 bits), by preferences (DPO, arXiv:2305.18290) or by reinforcement (GRPO,
// arXiv:2402.03300; PPO, as in arXiv:2203.02155). What each keeps in memory, in every phase of a step, how long it
// takes and what it costs. Nothing is said of quality.
//
// Training is data parallel and cut as ZeRO-3 over all its devices, as TRL, OpenRLHF and veRL do by default. With D
// devices, one of them holds
//   every phase   states of all models / D: 2 + 4 + 12 bytes a trained parameter (16-bit weight, f32 gradient, f32
//   master
//                 and two states), its format's bytes a frozen one
//   generate      + the policy in 16 bits / T, gathered for T devices that generate together (0 where D is 1)
//                 + c sequences of prompt and answer in the cache, + the server's workspace
//   score         + what one layer at work takes in the frozen models
//   train         + activations and workspace of the policy (and of the value model, one after the other)
// and the phase with the most decides whether it fits.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cost/device_catalog.h"
#include "cost/model_shape.h"
#include "cost/time_constants.h"
#include "engines/engine_run.h"
#include "engines/engine_time.h"

namespace plimsoll {

enum class Placement {
  colocated,  // the devices that train also generate
  separate,   // others generate: they hold the policy in 16 bits and its cache, and both wait for each other
};

struct ApproachQuestion {
  ModelConfig model;
  std::optional<ModelConfig> reward_model;  // none: a program gives the reward
  const Device* device = nullptr;
  TimeConstants constants;
  TimeHabits habits;
  int64_t least_devices = 1, most_devices = 64;
  TuneMethod reinforcement = TuneMethod::full;  // how policy and value model are trained by DPO, GRPO and PPO
  int64_t lora_rank = 16;
  Placement placement = Placement::colocated;
  int64_t examples = 10'000, epochs = 1, batch = 64, group = 8;
  int64_t prompt_tokens = 512, answer_tokens = 256;
  int64_t instruction_tokens = 2000;  // what a prompt must say in place of training
  double calls = 0;                   // answered afterwards
  double usd_per_device_hour = 0;     // 0: unknown
};

struct ResidentModel {
  std::string_view role;  // "policy", "reference", "reward", "value"
  double parameters = 0;
  bool trained = false;
  double weights = 0, gradients = 0, optimizer = 0;  // bytes over all devices together
  double bytes() const { return weights + gradients + optimizer; }
};

struct ApproachPhase {
  std::string_view name;  // "generate", "score", "train"
  double bytes = 0;       // of one device, states included
  double seconds = 0;     // of a step
};

struct ApproachPlan {
  std::string name;  // "LoRA", "PPO" …
  std::vector<ResidentModel> models;
  std::vector<ApproachPhase> phases;
  bool fits = false;
  std::string what_stops;       // where it does not fit on the most devices
  int64_t devices_needed = 0;   // where it does not fit: whole nodes that would do, cut the same way; 0: none found
  int64_t devices = 0;          // that train; the least that fit
  int64_t generators = 0;       // further devices that only generate (separate)
  int64_t generate_tensor = 0;  // devices that hold one generating copy; 0: nothing is generated
  int64_t concurrent = 0;       // sequences that a copy generates at once
  int64_t micro_batch = 0;
  bool recompute = false;
  double peak_bytes = 0;  // of the phase with the most
  int64_t steps = 0;
  double step_seconds = 0, hours = 0;
  double usd = 0;             // of training; 0 where no price is known or nothing is trained
  int64_t serve_devices = 0;  // the least that answer calls
  double usd_per_call = 0;    // answered on rented devices at full load
  double calls_even = -1;     // calls after which training has paid for the shorter prompt; below 0: never
};

// One plan a way, in the order prompt, full, LoRA, QLoRA, DPO, GRPO, PPO. Throws a caller Error where the catalogue
// lacks a figure that is needed.
std::vector<ApproachPlan> compare_approaches(const ApproachQuestion& question);

}  // namespace plimsoll
