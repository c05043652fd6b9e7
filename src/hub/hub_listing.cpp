#include "hub/hub_listing.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"

namespace plimsoll {
namespace {

using nlohmann::json;

constexpr size_t kMostFiles = 100000;
constexpr size_t kMostShards = 10000;
constexpr int64_t kLargestFile = int64_t{1} << 50;

constexpr std::array<std::string_view, 3> kConfigFiles = {"config.json", "generation_config.json", kIndexFile};
constexpr std::array<std::string_view, 4> kTextFiles = {"tokenizer_config.json", "special_tokens_map.json",
                                                        "added_tokens.json", "chat_template.jinja"};
constexpr std::array<std::string_view, 3> kTokenizerFiles = {"tokenizer.json", "tokenizer.model", "spiece.model"};

bool is_hexadecimal(std::string_view text, size_t digits) {
  return text.size() == digits && std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

Error bad_listing(const std::string& source, const std::string& problem) {
  return world_error(source, problem, "is this a hub? HF_ENDPOINT says which is asked");
}

std::string text_at(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

int64_t size_at(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_unsigned()) return -1;
  const auto size = found->get<uint64_t>();
  return size <= static_cast<uint64_t>(kLargestFile) ? static_cast<int64_t>(size) : -1;
}

// A file without a size or a hash stays in the listing with an empty hash: only when it is needed is that an error.
HubFile parse_file(const json& entry, std::string path) {
  HubFile file{std::move(path), size_at(entry, "size"), text_at(entry, "blobId"), false};
  if (const auto lfs = entry.find("lfs"); lfs != entry.end() && lfs->is_object()) {
    file.size = size_at(*lfs, "size");
    file.hash = text_at(*lfs, "sha256");
    file.is_sha256 = true;
  }
  if (file.size < 0 || !is_hexadecimal(file.hash, file.is_sha256 ? 64 : 40)) file.hash.clear();
  return file;
}

HubFile needed(const HubFile& file, const HubId& id) {
  if (file.hash.empty())
    throw world_error(id.repo, fmt::format("the hub gives no size or no hash of {}", one_line(file.path, 200)),
                      "without them a download cannot be checked; ask a hub that gives them (HF_ENDPOINT)");
  return file;
}

// "a.gguf (4.1 GiB), b.gguf (2 GiB), and 3 more"
std::string name_some(const std::vector<const HubFile*>& files) {
  constexpr size_t kMost = 12;
  std::string text;
  for (size_t i = 0; i < std::min(files.size(), kMost); ++i)
    text += fmt::format("{}{}{}", i == 0 ? "" : ", ", one_line(files[i]->path, 100),
                        files[i]->size > 0 ? fmt::format(" ({})", format_bytes(files[i]->size)) : "");
  return files.size() > kMost ? fmt::format("{}, and {} more", text, files.size() - kMost) : text;
}

Error no_config(const HubListing& listing, const HubId& id) {
  std::vector<const HubFile*> gguf;
  for (const HubFile& file : listing.files)
    if (file.path.ends_with(".gguf")) gguf.push_back(&file);
  if (!gguf.empty())
    return caller_error(id.text(), "holds GGUF files, and which is meant is not said: " + name_some(gguf),
                        fmt::format("choose one, {}:{}", id.text(), one_line(gguf.front()->path, 200)));
  if (listing.find("adapter_config.json") != nullptr)
    return caller_error(id.text(), "is a PEFT adapter, not a model", "give the model that it was trained on");
  return caller_error(id.text(), "has no config.json and no .gguf file",
                      "give a repository that holds a language model");
}

// Collects the values of "weight_map" while the text goes by.
class IndexReader : public nlohmann::json_sax<json> {
 public:
  std::set<std::string> files;
  bool has_map = false;
  std::string problem;

  bool null() override { return value(nullptr); }
  bool boolean(bool) override { return value(nullptr); }
  bool number_integer(number_integer_t) override { return value(nullptr); }
  bool number_unsigned(number_unsigned_t) override { return value(nullptr); }
  bool number_float(number_float_t, const string_t&) override { return value(nullptr); }
  bool string(string_t& text) override { return value(&text); }
  bool binary(binary_t&) override { return value(nullptr); }
  bool start_object(size_t) override {
    if (in_map()) return fail("weight_map holds an object");
    if (depth_ == 1 && key_ == "weight_map") map_depth_ = 2;
    has_map = has_map || in_map_at(depth_ + 1);
    return deeper();
  }
  bool end_object() override {
    if (in_map_at(depth_)) map_depth_ = -1;
    --depth_;
    return true;
  }
  bool start_array(size_t) override { return in_map() ? fail("weight_map holds a list") : deeper(); }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool key(string_t& name) override {
    if (depth_ == 1) key_ = name;
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return fail(fmt::format("is no JSON (byte {})", position));
  }

 private:
  bool in_map_at(int depth) const { return map_depth_ > 0 && depth == map_depth_; }
  bool in_map() const { return in_map_at(depth_); }
  bool deeper() { return ++depth_ <= 64 ? true : fail("is nested too deeply"); }
  bool fail(std::string text) {
    if (problem.empty()) problem = std::move(text);
    return false;
  }
  bool value(const std::string* text) {
    if (!in_map()) return true;
    if (text == nullptr) return fail("weight_map holds something that is no file name");
    if (!is_safe_repo_path(*text) || !text->ends_with(".safetensors"))
      return fail(fmt::format("weight_map names '{}', which is no weights file", one_line(*text, 100)));
    if (files.size() >= kMostShards && files.count(*text) == 0) return fail("weight_map names too many files");
    files.insert(*text);
    return true;
  }

  int depth_ = 0, map_depth_ = -1;
  std::string key_;
};

}  // namespace

const HubFile* HubListing::find(std::string_view path) const {
  const auto found = std::find_if(files.begin(), files.end(), [&](const HubFile& file) { return file.path == path; });
  return found != files.end() ? &*found : nullptr;
}

HubListing parse_hub_listing(std::string_view text, const std::string& source) {
  const json document = json::parse(text, nullptr, false);
  if (!document.is_object()) throw bad_listing(source, "answers with something that is no JSON object");
  HubListing listing;
  listing.commit = text_at(document, "sha");
  if (!is_commit(listing.commit)) throw bad_listing(source, "names no commit");
  const auto siblings = document.find("siblings");
  if (siblings == document.end() || !siblings->is_array()) throw bad_listing(source, "lists no files");
  if (siblings->size() > kMostFiles)
    throw bad_listing(source, fmt::format("lists {} files, more than {}", siblings->size(), kMostFiles));
  for (const json& entry : *siblings) {
    if (!entry.is_object()) throw bad_listing(source, "lists something that is no file");
    std::string path = text_at(entry, "rfilename");
    if (is_safe_repo_path(path)) listing.files.push_back(parse_file(entry, std::move(path)));
  }
  return listing;
}

std::vector<HubFile> choose_files(const HubListing& listing, const HubId& id, ModelNeed need) {
  if (!id.file.empty()) {
    const HubFile* file = listing.find(id.file);
    if (file == nullptr) {
      std::vector<const HubFile*> models;
      for (const HubFile& other : listing.files)
        if (other.path.ends_with(".gguf")) models.push_back(&other);
      throw caller_error(id.text(), "the repository has no such file",
                         models.empty() ? "look at the repository's list of files" : "it has " + name_some(models));
    }
    if (!file->path.ends_with(".gguf"))
      throw caller_error(id.text(), "only a .gguf file can be chosen by its name", "leave out what follows the colon");
    return {needed(*file, id)};
  }
  if (listing.find("config.json") == nullptr) throw no_config(listing, id);
  std::vector<HubFile> chosen;
  const auto take = [&](std::string_view name) {
    if (const HubFile* file = listing.find(name)) chosen.push_back(needed(*file, id));
  };
  for (const std::string_view name : kConfigFiles) take(name);
  if (need == ModelNeed::config) return chosen;
  for (const std::string_view name : kTextFiles) take(name);
  // They say the same; the first that is there is enough.
  const auto tokenizer = std::find_if(kTokenizerFiles.begin(), kTokenizerFiles.end(),
                                      [&](std::string_view name) { return listing.find(name) != nullptr; });
  if (tokenizer != kTokenizerFiles.end()) take(*tokenizer);
  return chosen;
}

std::vector<HubFile> choose_weights(const HubListing& listing, const HubId& id, std::string_view index_json) {
  std::vector<HubFile> chosen;
  if (!index_json.empty()) {
    for (const std::string& name : index_files(index_json, id.repo + " " + kIndexFile)) {
      const HubFile* file = listing.find(name);
      if (file == nullptr)
        throw caller_error(id.text(), fmt::format("its index names {}, which it does not have", one_line(name, 100)),
                           "the repository is incomplete; try another revision, org/name@REVISION");
      chosen.push_back(needed(*file, id));
    }
    return chosen;
  }
  if (const HubFile* single = listing.find("model.safetensors")) return {needed(*single, id)};
  for (const HubFile& file : listing.files)
    if (file.path.find('/') == std::string::npos && is_weights_file(file.path)) chosen.push_back(needed(file, id));
  if (!chosen.empty()) return chosen;
  const bool pickled =
      listing.find("pytorch_model.bin") != nullptr || listing.find("pytorch_model.bin.index.json") != nullptr;
  throw caller_error(id.text(),
                     pickled ? "has its weights in pytorch_model.bin only, which can run code when it is opened"
                             : "has no weights in *.safetensors",
                     pickled ? "convert it with save_pretrained of transformers, which writes safetensors"
                             : "plan and inspect need none; for more, give a repository with *.safetensors");
}

std::vector<std::string> index_files(std::string_view text, const std::string& source) {
  IndexReader reader;
  json::sax_parse(text, &reader);
  if (reader.problem.empty() && !reader.has_map) reader.problem = "has no weight_map";
  if (reader.problem.empty() && reader.files.empty()) reader.problem = "has an empty weight_map";
  if (!reader.problem.empty()) throw caller_error(source, reader.problem, "fetch the model again");
  return {reader.files.begin(), reader.files.end()};
}

bool is_weights_file(std::string_view name) {
  return name.ends_with(".safetensors") && !name.starts_with("adapter_") && !name.starts_with("consolidated");
}

}  // namespace plimsoll
