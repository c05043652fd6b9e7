// The constants of the cost model that were fitted to measured steps, each with a name: catalog/time_constants.csv says
// what they were fitted on. What devices can do is in the catalogue of devices; what stacks do, in catalog/stacks.csv.
#pragma once

#include <string>

namespace plimsoll {

struct TimeConstants {
  double gemm_efficiency = 0;       // share of the fastest measured product that large products of a model reach
  double gemm_depth = 0;            // a product whose least dimension is this reaches half of that
  double gemm_seconds = 0;          // start and tail of one product, whatever its size
  double attention_efficiency = 0;  // share of the device's flash attention rate
  double stream_efficiency = 0;     // share of the memory bandwidth that element-wise kernels reach
  double launch_seconds = 0;        // of the host, to start one kernel in eager mode
  double fp8_share = 0;             // of the gain that 8-bit products promise, what is left beside scaling and casts
  double link_efficiency = 0;       // share of the link's rate that collectives reach
  double network_efficiency = 0;    // the same between nodes
  double hop_seconds = 0;           // latency of one step of a collective
  double overlap_cost = 0;          // share of a hidden collective's time by which it slows the work that hides it
  double adapter_seconds = 0;       // of the small kernels around one adapted matrix, whatever its size
  double straggler = 0;             // growth of a step with each doubling of the nodes
  // 90 of 100 measured steps lie between these parts of the prediction.
  double interval_low = 1, interval_high = 1;
};

// From the table in the program, or a file of the same columns (name,value,unit,source,date), which
// $PLIMSOLL_TIME_CONSTANTS may name, too. Throws a caller Error for
// an unknown or missing name.
TimeConstants load_time_constants(const std::string& file = "");

}  // namespace plimsoll
