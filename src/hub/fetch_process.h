// Fetching happens in a program of its own, plimsoll-fetch beside plimsoll: TLS and its libraries would cost every run
// some MiB of the memory that --memory bounds, and what reads from the network is kept apart from what holds the data.
#pragma once

#include <string>

#include "hub/hub_id.h"

namespace plimsoll {

// Runs it and waits; its progress goes to our stderr. Gives the snapshot's folder, or throws what it reports.
std::string run_fetch_process(const HubId& id, ModelNeed need);

// The two ends of what that program writes to stdout.
std::string report_fetched(const std::string& snapshot);
std::string report_fetch_error(int kind, const std::string& thing, const std::string& problem,
                               const std::string& way_out);
std::string read_fetch_report(const std::string& text);  // the snapshot's folder; throws the Error that is reported

}  // namespace plimsoll
