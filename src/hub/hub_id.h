// A model of the hub as people write it: "org/name", "org/name@revision", "org/name:FILE.gguf", or all three.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace plimsoll {

struct HubId {
  std::string repo;               // "org/name"
  std::string revision = "main";  // branch, tag or commit
  std::string file;               // of a repository that holds several models; empty: its config.json and weights

  std::string text() const;  // as it was written, "@main" left out
};

// How much of a repository a command needs.
enum class ModelNeed : uint8_t {
  config,   // config.json, generation_config.json, the index of the weights
  text,     // and the tokenizer's files and the chat template
  weights,  // and the weights
};
std::string_view need_name(ModelNeed need);
std::optional<ModelNeed> parse_need(std::string_view name);

// Empty when `text` cannot be an id: the hub's letters only, and no part that leads out of a folder.
std::optional<HubId> parse_hub_id(std::string_view text);

// A path inside a repository that can become a path on this disk: relative, no "..", no empty or hidden-by-design part,
// nothing that is not printable.
bool is_safe_repo_path(std::string_view path);

bool is_commit(std::string_view revision);  // 40 hexadecimal digits

}  // namespace plimsoll
