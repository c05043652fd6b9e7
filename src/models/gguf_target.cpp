#include "models/gguf_target.h"

#include <filesystem>
#include <unordered_map>

#include "base/error.h"
#include "data/gguf_tokenizer.h"
#include "data/model_text.h"

namespace plimsoll {
namespace {

GgufMetadata tokenizer_of(const ModelFiles& model) {
  if (model.gguf) return tokenizer_keys(model.gguf->metadata);
  if (model.tokenizer_file.empty()) return {};
  if (!model.tokenizer_file.ends_with(".json"))
    throw caller_error(model.tokenizer_file,
                       "is a SentencePiece file, and GGUF files are written from a tokenizer.json",
                       "save the tokenizer with transformers, which writes tokenizer.json, or write a folder");
  const auto chat = find_chat_template(text_files_of(model));
  return gguf_tokenizer_metadata(model.tokenizer_file, model.tokenizer_config_json, chat ? chat->text : "",
                                 model.config);
}

}  // namespace

GgufExport plan_gguf_file(const ModelFiles& model, const std::vector<ParameterSpec>& parameters,
                          const GgufFileType& type, const std::string& target) {
  std::vector<NamedShape> tensors;
  for (const ParameterSpec& spec : parameters) tensors.push_back({spec.name, spec.shape});
  return plan_gguf_export(model.config, tensors, type, tokenizer_of(model),
                          std::filesystem::path(target).stem().string());
}

std::vector<ParameterSpec> gguf_order(const GgufExport& plan, const std::vector<ParameterSpec>& parameters) {
  std::unordered_map<std::string, const ParameterSpec*> by_name;
  for (const ParameterSpec& parameter : parameters) by_name[parameter.name] = &parameter;
  std::vector<ParameterSpec> order;
  for (const GgufExportTensor& tensor : plan.tensors)
    if (!tensor.hf_name.empty() && (order.empty() || order.back().name != tensor.hf_name))
      order.push_back(*by_name.at(tensor.hf_name));
  return order;
}

GgufTarget::GgufTarget(const std::string& path, const GgufExport& plan, ThreadPool& pool, Written written)
    : plan_(plan), pool_(pool), writer_(path, plan.metadata, plan.outputs()), written_(std::move(written)) {
  write_own();
}

void GgufTarget::save(const std::string& tensor, const Value& value, std::span<const std::byte> data,
                      std::span<std::byte> staging) {
  const std::span values(reinterpret_cast<const float*>(data.data()), data.size() / sizeof(float));
  PLIMSOLL_CHECK(next_ < plan_.tensors.size() && plan_.tensors[next_].hf_name == tensor,
                 "tensors come in the order of the export");
  // One tensor of the model may be several of the file, one after the other.
  for (; next_ < plan_.tensors.size() && plan_.tensors[next_].hf_name == tensor; ++next_) {
    const GgufExportTensor& target = plan_.tensors[next_];
    WrittenRow written;
    if (written_)
      written = [&](int64_t number, std::span<const float> row, const std::byte* bytes) {
        written_(target, number, row, bytes);
      };
    const ReadRow read = [&](int64_t row, std::span<float> out) {
      read_export_row(target, value.shape, values, row, out);
    };
    write_gguf_tensor(writer_, target, read, pool_, staging, written);
  }
  write_own();
}

void GgufTarget::write_own() {
  while (next_ < plan_.tensors.size() && plan_.tensors[next_].hf_name.empty()) {
    writer_.write(std::as_bytes(std::span(plan_.tensors[next_].values)));
    ++next_;
  }
}

}  // namespace plimsoll
