// The constants of the cost model that were fitted to measured steps, each with a name: catalog/time_constants.csv says
// what they were fitted on. What devices can do is in the catalogue of devices; what stacks do, in
// catalog/stack_habits.csv.
#pragma once

#include <string>

namespace plimsoll {

struct TimeConstants {
  double gemm_efficiency = 0;  // share of the fastest measured product that large products of a model reach
  double gemm_bytes = 0;       // share of the time of a product's reads and writes that its arithmetic doesn't hide
  double gemm_alignment = 1;   // share left of the rate with each halving of the alignment of its rows
  double gemm_seconds = 0;     // start and tail of one product, whatever its size
  double attention_efficiency = 0;    // share of the device's flash attention rate
  double stream_efficiency = 0;       // share of the memory bandwidth that element-wise kernels reach
  double launch_seconds = 0;          // of the host, to start one kernel in eager mode
  double link_efficiency = 0;         // share of the link's rate that collectives reach
  double network_efficiency = 0;      // the same between nodes
  double collective_seconds = 0;      // to start a collective
  double hop_seconds = 0;             // latency of one step of a collective
  double overlap_cost = 0;            // share of a hidden collective's time by which it slows the work that hides it
  double expert_launches = 0;         // what routing and experts add to the launches of a layer, as a share of them
  double deterministic_launches = 1;  // times as many launches where kernels must give the same bits each time
  double hook_launches = 0;           // of a layer, where hooks of every module gather and release its weights
  double straggler = 0;               // growth of a step with each doubling of the nodes
  // 90 of 100 measured steps lie between these parts of the prediction.
  double interval_low = 1, interval_high = 1;
};

// From the table in the program, or a file of the same columns (name,value,unit,source,date), which
// $PLIMSOLL_TIME_CONSTANTS may name, too. Throws a caller Error for
// an unknown or missing name.
TimeConstants load_time_constants(const std::string& file = "");

}  // namespace plimsoll
