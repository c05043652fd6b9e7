#include "checkpoint/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#define XXH_INLINE_ALL  // nothing to link
#include <xxhash.h>

#include "base/error.h"
#include "formats/output_file.h"
#include "formats/safetensors.h"
#include "formats/safetensors_writer.h"
#include "formats/text_file.h"

namespace plimsoll {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "checkpoint-";
constexpr std::string_view kPartial = ".partial";
constexpr const char* kWayOut = "remove this checkpoint folder to go on from the one before";

std::string state_path(const std::string& folder) { return folder + "/state.safetensors"; }
std::string progress_path(const std::string& folder) { return folder + "/progress.json"; }

// Of the tensors' bytes, one after the other as they are moved: resuming moves them in the order of saving.
class Checksum {
 public:
  Checksum() { XXH3_64bits_reset(&state_); }
  void add(std::span<const std::byte> data) { XXH3_64bits_update(&state_, data.data(), data.size()); }
  std::string text() const { return fmt::format("{:016x}", XXH3_64bits_digest(&state_)); }

 private:
  XXH3_state_t state_;
};

// Tensors go out in the order in which the save phase names them.
class StateWriter : public HostServices {
 public:
  StateWriter(const std::string& path, const std::vector<SafetensorsOutput>& entries) : writer_(path, entries) {}
  void save(const std::string&, const Value&, std::span<const std::byte> data, std::span<std::byte>) override {
    checksum_.add(data);
    writer_.write(data);
  }
  std::string finish() {
    writer_.finish();
    return checksum_.text();
  }

 private:
  Checksum checksum_;
  SafetensorsWriter writer_;
};

class StateReader : public HostServices {
 public:
  explicit StateReader(const std::string& path) : path_(path), index_(open_safetensors(path)) {}
  void load(const std::string& tensor, const Value& target, std::span<std::byte> out, std::span<std::byte>) override {
    const TensorEntry* entry = index_.find(tensor);
    if (entry == nullptr || entry->dtype != target.dtype || entry->shape != target.shape)
      throw caller_error(path_, "does not hold " + tensor + " as " + to_string(target.shape),
                         "resume with the recipe that made the checkpoint");
    index_.files[static_cast<size_t>(entry->file)]->read(entry->offset, out);
    checksum_.add(out);
  }
  void expect(const std::string& checksum) const {
    if (checksum_.text() == checksum) return;
    throw caller_error(path_, fmt::format("is damaged: its checksum is {}, not {}", checksum_.text(), checksum),
                       kWayOut);
  }

 private:
  Checksum checksum_;
  std::string path_;
  TensorIndex index_;
};

// Swaps in `host` while a phase runs.
void run_with_host(const Executor& phase, RunState& state, HostServices& host) {
  HostServices* const before = std::exchange(state.host, &host);
  try {
    phase.run(state);
  } catch (...) {
    state.host = before;
    throw;
  }
  state.host = before;
}

// Steps of the complete checkpoints in `out`, ascending.
std::vector<int64_t> list_checkpoints(const std::string& out) {
  std::vector<int64_t> steps;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(out, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    int64_t step = 0;
    const char* end = name.data() + name.size();
    const auto [stop, status] = std::from_chars(name.data() + kPrefix.size(), end, step);
    if (status == std::errc{} && stop == end) steps.push_back(step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

}  // namespace

std::string checkpoint_folder(const std::string& out, int64_t step) {
  return fmt::format("{}/{}{}", out, kPrefix, step);
}

void save_checkpoint(const std::string& out, const CheckpointProgress& progress, const Executor& save_phase,
                     RunState& state) {
  const std::string folder = checkpoint_folder(out, progress.step);
  const std::string partial = folder + std::string(kPartial);
  std::error_code error;
  fs::remove_all(partial, error);
  if (!fs::create_directories(partial, error) && error)
    throw world_error(partial, "cannot be made", "check the folder and its permissions", error.value());
  try {
    std::vector<SafetensorsOutput> entries;
    for (const Op& op : save_phase.plan().graph.ops) {
      const Value& value = save_phase.plan().graph.value(op.operands[0]);
      entries.push_back({value.name, value.dtype, value.shape});
    }
    StateWriter writer(state_path(partial), entries);
    run_with_host(save_phase, state, writer);
    const std::string checksum = writer.finish();
    const nlohmann::ordered_json json = {{"step", progress.step},
                                         {"micro_batch", progress.micro_batch},
                                         {"recompute_layers", progress.recompute_layers},
                                         {"ce_chunk_rows", progress.ce_chunk_rows},
                                         {"train_seconds", progress.train_seconds},
                                         {"data_rows", progress.data_rows},
                                         {"data_tokens", progress.data_tokens},
                                         {"loss_scale", progress.loss_scale.scale},
                                         {"loss_scale_good_steps", progress.loss_scale.good_steps},
                                         {"skipped_steps", progress.loss_scale.skipped_steps},
                                         {"state_xxh3", checksum}};
    write_file_atomically(progress_path(partial), json.dump(2) + "\n");
  } catch (...) {
    fs::remove_all(partial, error);
    throw;
  }
  fs::remove_all(folder, error);
  fs::rename(partial, folder, error);
  if (error) throw world_error(folder, "cannot be put in place", "check the folder and its permissions", error.value());
  sync_folder(out);
}

void prune_checkpoints(const std::string& out, int64_t keep) {
  std::error_code error;
  std::vector<int64_t> steps = list_checkpoints(out);
  for (size_t i = 0; i + static_cast<size_t>(keep) < steps.size(); ++i)
    fs::remove_all(checkpoint_folder(out, steps[i]), error);
  for (const fs::directory_entry& entry : fs::directory_iterator(out, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kPrefix) && name.ends_with(kPartial)) fs::remove_all(entry.path(), error);
  }
}

std::optional<CheckpointProgress> find_checkpoint(const std::string& out) {
  const std::vector<int64_t> steps = list_checkpoints(out);
  if (steps.empty()) return std::nullopt;
  const std::string path = progress_path(checkpoint_folder(out, steps.back()));
  const auto json = nlohmann::json::parse(read_text_file(path), nullptr, false);
  const auto whole = [&](const char* key, int64_t least, int64_t most) {
    if (!json.is_object() || !json.contains(key) || !json[key].is_number_integer())
      throw caller_error(path, std::string("has no whole number '") + key + "'", kWayOut);
    const auto value = json[key].get<int64_t>();
    if (value < least || value > most) throw caller_error(path, fmt::format("'{}' is {}", key, value), kWayOut);
    return value;
  };
  CheckpointProgress progress;
  progress.step = whole("step", steps.back(), steps.back());
  progress.micro_batch = whole("micro_batch", 1, INT32_MAX);
  progress.recompute_layers = whole("recompute_layers", 0, INT32_MAX);
  progress.ce_chunk_rows = whole("ce_chunk_rows", 1, INT32_MAX);
  progress.data_rows = whole("data_rows", 0, INT64_MAX);
  progress.data_tokens = whole("data_tokens", 0, INT64_MAX);
  const auto number = [&](const char* key) {
    if (!json.contains(key) || !json[key].is_number())
      throw caller_error(path, fmt::format("has no number '{}'", key), kWayOut);
    return json[key].get<double>();
  };
  progress.train_seconds = number("train_seconds");
  progress.loss_scale.scale = number("loss_scale");
  if (!(progress.loss_scale.scale > 0 && progress.loss_scale.scale <= 1e300))
    throw caller_error(path, fmt::format("'loss_scale' is {}", progress.loss_scale.scale), kWayOut);
  progress.loss_scale.good_steps = whole("loss_scale_good_steps", 0, INT64_MAX);
  progress.loss_scale.skipped_steps = whole("skipped_steps", 0, progress.step);
  if (!json.contains("state_xxh3") || !json["state_xxh3"].is_string())
    throw caller_error(path, "has no text 'state_xxh3'", kWayOut);
  json["state_xxh3"].get_to(progress.state_checksum);
  return progress;
}

void load_checkpoint(const std::string& out, const CheckpointProgress& progress, const Executor& resume_phase,
                     RunState& state) {
  StateReader reader(state_path(checkpoint_folder(out, progress.step)));
  run_with_host(resume_phase, state, reader);
  reader.expect(progress.state_checksum);
}

}  // namespace plimsoll
