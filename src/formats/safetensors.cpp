#include "formats/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "formats/text_file.h"

namespace plimsoll {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian and read as they are");

using nlohmann::json;

Error broken(std::string_view source, const std::string& problem) {
  return caller_error(std::string(source), problem, "the file is damaged or not safetensors; fetch it again");
}

// Takes the header apart while it is parsed, so that no tree of it is ever in memory. Levels of nesting: 1 the header,
// 2 one tensor or the metadata, 3 a list of a tensor.
class HeaderReader : public nlohmann::json_sax<json> {
 public:
  HeaderReader(SafetensorsHeader& out, std::string_view source) : out_(out), source_(source) {}

  bool start_object(std::size_t) override {
    if (depth_ == 1 && !in_metadata_) {
      if (static_cast<int64_t>(out_.entries.size()) >= kMaxTensors) fail("lists more tensors than any model has");
      out_.entries.emplace_back();
      out_.entries.back().name = out_.entries.back().stored_name = tensor_;
      seen_dtype_ = seen_shape_ = seen_offsets_ = false;
    } else if (depth_ > 1) {
      fail(fmt::format("holds an object in {} where none belongs", place()));
    }
    ++depth_;
    return true;
  }

  bool end_object() override {
    --depth_;
    if (depth_ == 1 && !in_metadata_ && !(seen_dtype_ && seen_shape_ && seen_offsets_)) {
      fail(fmt::format("lacks the dtype, shape or data_offsets of {}", tensor_));
    }
    return true;
  }

  bool key(std::string& name) override {
    if (depth_ == 1) {
      tensor_ = name;
      in_metadata_ = name == "__metadata__";
    } else {
      field_ = name;
    }
    return true;
  }

  bool string(std::string& value) override {
    if (depth_ != 2) return unexpected();
    if (in_metadata_) {
      out_.metadata[field_] = value;
      return true;
    }
    if (field_ != "dtype" || seen_dtype_) return unexpected();
    const std::optional<DType> dtype = dtype_from_safetensors(value);
    if (!dtype)
      fail(fmt::format("gives tensor {} the dtype {}, which is not known here", tensor_, value.substr(0, 40)));
    out_.entries.back().dtype = *dtype;
    return seen_dtype_ = true;
  }

  bool start_array(std::size_t) override {
    const bool shape = field_ == "shape" && !seen_shape_, offsets = field_ == "data_offsets" && !seen_offsets_;
    if (depth_ != 2 || in_metadata_ || !(shape || offsets)) return unexpected();
    numbers_ = 0;
    ++depth_;
    return true;
  }

  bool end_array() override {
    --depth_;
    TensorEntry& entry = out_.entries.back();
    if (field_ == "shape") {
      entry.shape = Shape(std::span<const int64_t>(list_.data(), numbers_));
      return seen_shape_ = true;
    }
    if (numbers_ != 2 || list_[1] < list_[0]) fail(fmt::format("has broken data_offsets of {}", tensor_));
    entry.offset = list_[0];
    entry.bytes = list_[1] - list_[0];
    return seen_offsets_ = true;
  }

  bool number_unsigned(uint64_t value) override {
    if (depth_ != 3) return unexpected();
    if (numbers_ == list_.size()) fail(fmt::format("gives tensor {} more than {} dimensions", tensor_, list_.size()));
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return unexpected();
    list_[numbers_++] = static_cast<int64_t>(value);
    return true;
  }

  bool null() override { return unexpected(); }
  bool boolean(bool) override { return unexpected(); }
  bool number_integer(int64_t) override { return unexpected(); }
  bool number_float(double, const std::string&) override { return unexpected(); }
  bool binary(json::binary_t&) override { return unexpected(); }
  bool parse_error(std::size_t position, const std::string&, const json::exception&) override {
    fail(fmt::format("has a header that is not valid JSON at byte {}", position));
  }

 private:
  std::string place() const { return depth_ == 0 ? "its header" : tensor_.substr(0, 100); }
  bool unexpected() { fail(fmt::format("has a value of the wrong kind in {}", place())); }
  [[noreturn]] void fail(const std::string& problem) { throw broken(source_, problem); }

  SafetensorsHeader& out_;
  std::string source_, tensor_, field_;
  int depth_ = 0;
  bool in_metadata_ = false, seen_dtype_ = false, seen_shape_ = false, seen_offsets_ = false;
  std::array<int64_t, Shape::kMaxRank> list_{};
  size_t numbers_ = 0;
};

void check_sizes(const SafetensorsHeader& header, std::string_view source) {
  for (const TensorEntry& entry : header.entries) {
    int64_t bytes = dtype_info(entry.dtype).block_bytes;
    bool overflows = false;
    for (const int64_t dim : entry.shape.dims()) overflows = overflows || __builtin_mul_overflow(bytes, dim, &bytes);
    if (overflows || bytes != entry.bytes) {
      throw broken(source, fmt::format("gives tensor {} {} bytes, but {} of shape {} needs {}", entry.name, entry.bytes,
                                       dtype_name(entry.dtype), to_string(entry.shape),
                                       overflows ? "more than any file has" : std::to_string(bytes)));
    }
  }
}

void check_tiling(const SafetensorsHeader& header, int64_t data_bytes, std::string_view source) {
  std::vector<const TensorEntry*> order;
  for (const TensorEntry& entry : header.entries) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](const TensorEntry* a, const TensorEntry* b) {
    return std::pair(a->offset, a->bytes) < std::pair(b->offset, b->bytes);
  });
  int64_t end = 0;
  for (const TensorEntry* entry : order) {
    if (entry->offset != end) {
      throw broken(source,
                   fmt::format("has {} before tensor {}", entry->offset > end ? "a hole" : "an overlap", entry->name));
    }
    if (entry->bytes > data_bytes - end) {
      throw broken(source, fmt::format("is cut short: tensor {} ends {} bytes behind its end", entry->name,
                                       entry->bytes - (data_bytes - end)));
    }
    end += entry->bytes;
  }
  if (end != data_bytes) throw broken(source, fmt::format("has {} bytes behind its last tensor", data_bytes - end));
}

void check_duplicates(const SafetensorsHeader& header, std::string_view source) {
  std::vector<std::string_view> names;
  for (const TensorEntry& entry : header.entries) names.push_back(entry.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) throw broken(source, fmt::format("lists tensor {} twice", *twice));
}

void sort_by_name(TensorIndex& index) {
  std::sort(index.entries.begin(), index.entries.end(),
            [](const TensorEntry& a, const TensorEntry& b) { return a.name < b.name; });
}

// The shard of every tensor; names that would leave the folder are refused.
std::map<std::string, std::string> read_weight_map(const std::string& index_path) {
  constexpr int64_t kMaxIndexBytes = 32 * kMiB;
  const json document = json::parse(read_text_file(index_path, kMaxIndexBytes), nullptr, false);
  const auto weight_map = document.is_object() ? document.find("weight_map") : document.end();
  if (!document.is_object() || weight_map == document.end() || !weight_map->is_object() || weight_map->empty()) {
    throw caller_error(index_path, "has no weight_map", "fetch this file again");
  }
  std::map<std::string, std::string> shards;
  for (const auto& [tensor, shard] : weight_map->items()) {
    const std::string name = shard.is_string() ? shard.get<std::string>() : "";
    if (name.empty() || name == "." || name == ".." ||
        name.find_first_of(std::string_view("/\0", 2)) != std::string::npos) {
      throw caller_error(index_path, fmt::format("places tensor {} outside of its folder or nowhere", tensor),
                         "shards must be files beside the index; fetch it again from a source you trust");
    }
    shards[tensor] = name;
  }
  return shards;
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view text, int64_t file_bytes, std::string_view source) {
  if (text.empty() || text.front() != '{') throw broken(source, "has a header that does not begin with {");
  const int64_t data_start = 8 + static_cast<int64_t>(text.size());
  SafetensorsHeader header;
  HeaderReader reader(header, source);
  json::sax_parse(text.begin(), text.end(), &reader);
  check_sizes(header, source);
  check_tiling(header, file_bytes - data_start, source);
  check_duplicates(header, source);
  for (TensorEntry& entry : header.entries) entry.offset += data_start;
  return header;
}

namespace {

SafetensorsHeader read_header(const InputFile& file) {
  uint64_t length = 0;
  if (file.size() < 8) throw broken(file.path(), fmt::format("is {} bytes long, too short for a header", file.size()));
  file.read(0, std::as_writable_bytes(std::span(&length, 1)));
  if (length > static_cast<uint64_t>(kMaxSafetensorsHeaderBytes)) {
    throw broken(file.path(), fmt::format("says that its header has {} bytes, more than the {} allowed", length,
                                          kMaxSafetensorsHeaderBytes));
  }
  if (static_cast<int64_t>(length) > file.size() - 8) {
    throw broken(file.path(),
                 fmt::format("says that its header has {} bytes, the whole file has {}", length, file.size()));
  }
  std::string text(length, '\0');
  file.read(8, std::as_writable_bytes(std::span(text.data(), text.size())));
  return parse_safetensors_header(text, file.size(), file.path());
}

}  // namespace

TensorIndex open_safetensors(const std::string& path, std::map<std::string, std::string>* metadata) {
  TensorIndex index;
  index.files.push_back(std::make_shared<InputFile>(path));
  SafetensorsHeader header = read_header(*index.files[0]);
  index.entries = std::move(header.entries);
  if (metadata != nullptr) *metadata = std::move(header.metadata);
  sort_by_name(index);
  return index;
}

TensorIndex open_safetensors_files(const std::vector<std::string>& paths) {
  TensorIndex index;
  for (const std::string& path : paths) {
    const int number = static_cast<int>(index.files.size());
    index.files.push_back(std::make_shared<InputFile>(path));
    for (TensorEntry& entry : read_header(*index.files.back()).entries) {
      entry.file = number;
      index.entries.push_back(std::move(entry));
    }
  }
  sort_by_name(index);
  const auto twice = std::adjacent_find(index.entries.begin(), index.entries.end(),
                                        [](const TensorEntry& a, const TensorEntry& b) { return a.name == b.name; });
  if (twice != index.entries.end()) {
    throw caller_error(index.files[static_cast<size_t>(twice->file)]->path(),
                       "holds tensor " + twice->name + ", which another file of the folder holds too",
                       "keep the files of one model only, or add its model.safetensors.index.json");
  }
  return index;
}

TensorIndex open_sharded_safetensors(const std::string& index_path) {
  const std::map<std::string, std::string> shard_of = read_weight_map(index_path);
  const size_t slash = index_path.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : index_path.substr(0, slash + 1);
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : shard_of) shards.insert(shard);

  TensorIndex index;
  for (const std::string& shard : shards) {
    const int number = static_cast<int>(index.files.size());
    index.files.push_back(std::make_shared<InputFile>(folder + shard));
    for (TensorEntry& entry : read_header(*index.files.back()).entries) {
      const auto wanted = shard_of.find(entry.name);
      if (wanted == shard_of.end() || wanted->second != shard) continue;
      entry.file = number;
      index.entries.push_back(std::move(entry));
    }
  }
  sort_by_name(index);
  for (const auto& [tensor, shard] : shard_of) {
    if (index.find(tensor) == nullptr) {
      throw caller_error(folder + shard, "does not hold tensor " + tensor + ", which the index places there",
                         "fetch this shard again");
    }
  }
  return index;
}

}  // namespace plimsoll
