#include "formats/safetensors_writer.h"

#include <fmt/format.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/bytes.h"
#include "base/error.h"

namespace plimsoll {
namespace {

int64_t data_bytes(const std::vector<SafetensorsOutput>& entries) {
  int64_t bytes = 0;
  for (const SafetensorsOutput& entry : entries) bytes += entry.bytes();
  return bytes;
}

// Length and header, padded with spaces so that the data begins at a multiple of 8.
std::string build_header(const std::vector<SafetensorsOutput>& entries, std::map<std::string, std::string> metadata) {
  metadata.try_emplace("format", "pt");
  std::string text = fmt::format(R"({{"__metadata__":{})", nlohmann::json(metadata).dump());
  int64_t offset = 0;
  for (const SafetensorsOutput& entry : entries) {
    const std::string_view dtype = dtype_info(entry.dtype).safetensors_name;
    PLIMSOLL_CHECK(!dtype.empty(), "safetensors has no such dtype");
    nlohmann::json fields;
    fields["dtype"] = dtype;
    fields["shape"] = std::vector<int64_t>(entry.shape.dims().begin(), entry.shape.dims().end());
    fields["data_offsets"] = {offset, offset + entry.bytes()};
    text += fmt::format(",{}:{}", nlohmann::json(entry.name).dump(), fields.dump());
    offset += entry.bytes();
  }
  text += "}";
  text.resize(static_cast<size_t>(round_up(static_cast<int64_t>(text.size()), 8)), ' ');
  const uint64_t length = text.size();
  std::string prefix(sizeof(length), '\0');
  std::memcpy(prefix.data(), &length, sizeof(length));
  return prefix + text;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::string& path, const std::vector<SafetensorsOutput>& entries,
                                     std::map<std::string, std::string> metadata)
    : file_(path), bytes_left_(data_bytes(entries)) {
  const std::string header = build_header(entries, std::move(metadata));
  file_.reserve(static_cast<int64_t>(header.size()) + bytes_left_);
  file_.write(header);
}

void SafetensorsWriter::write(std::span<const std::byte> bytes) {
  PLIMSOLL_CHECK(static_cast<int64_t>(bytes.size()) <= bytes_left_, "more bytes than the entries have");
  bytes_left_ -= static_cast<int64_t>(bytes.size());
  file_.write(bytes);
}

void SafetensorsWriter::finish() {
  PLIMSOLL_CHECK(bytes_left_ == 0, "fewer bytes than the entries have");
  file_.finish();
}

}  // namespace plimsoll
