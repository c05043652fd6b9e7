#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "hub/hub_listing.h"

// The answer of a hub; then the same text as an index of weights.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace plimsoll;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto quietly = [](const auto& action) {
    try {
      action();
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::internal) throw;
    }
  };
  const auto safe = [](const HubFile& file) {
    if (!is_safe_repo_path(file.path) || file.hash.find_first_not_of("0123456789abcdef") != std::string::npos ||
        file.size < 0)
      __builtin_trap();
  };
  const HubId id{"org/name", "main", ""};
  quietly([&] {
    const HubListing listing = parse_hub_listing(text, "fuzz");
    for (const HubFile& file : choose_files(listing, id, ModelNeed::text)) safe(file);
    for (const HubFile& file : choose_weights(listing, id, "")) safe(file);
  });
  quietly([&] {
    for (const std::string& file : index_files(text, "fuzz"))
      if (!is_safe_repo_path(file)) __builtin_trap();
  });
  if (const auto parsed = parse_hub_id(text)) {
    if (parse_hub_id(parsed->text())->text() != parsed->text()) __builtin_trap();
  }
  return 0;
}
