// What Plimsoll keeps between runs about this machine: rates that were fitted, speeds of disks. Losing it costs a
// measurement.
#pragma once

#include <optional>
#include <string>

namespace plimsoll {

// $PLIMSOLL_CACHE, where "off" is none; else $XDG_CACHE_HOME/plimsoll, else $HOME/.cache/plimsoll. Empty: none.
std::string user_cache_folder();

// The text of a file in it; nullopt where it isn't, is larger than a MiB, or is older than `most_days`.
std::optional<std::string> read_user_cache(const std::string& name, double most_days);
// Puts a file in place. What cannot be written is not kept: never an error.
void write_user_cache(const std::string& name, const std::string& text) noexcept;

// The file of the rates that calibrate fits.
std::string rates_file_name(const char* instructions, const char* precision, int threads);

}  // namespace plimsoll
