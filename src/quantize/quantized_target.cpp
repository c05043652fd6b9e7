#include "quantize/quantized_target.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "base/error.h"
#include "formats/number_conversion.h"
#include "formats/packed/packed_encode.h"
#include "models/gguf_target.h"
#include "models/model_folder.h"
#include "quantize/folder_formats.h"
#include "quantize/staged_folder.h"

namespace plimsoll {
namespace {

constexpr int64_t kStagingBytes = 4 * kMiB;

SquaredError difference(std::span<const float> values, std::span<const float> restored) {
  SquaredError sum;
  for (size_t i = 0; i < values.size(); ++i) {
    const double value = values[i], off = static_cast<double>(restored[i]) - value;
    sum.error += off * off;
    sum.total += value * value;
  }
  return sum;
}

class GgufQuantizedTarget : public QuantizedTarget {
 public:
  GgufQuantizedTarget(const ModelFiles& model, const QuantizeOptions& options, ThreadPool& pool)
      : parameters_(list_parameters(model.config)),
        plan_(plan_gguf_file(model, parameters_, *options.type.gguf, options.out)) {
    require_absent(options.out);
    order_ = gguf_order(plan_, parameters_);
    for (const GgufExportTensor& tensor : plan_.tensors) staging_[tensor.hf_name] = gguf_staging_bytes(tensor);
    target_ = std::make_unique<GgufTarget>(
        options.out, plan_, pool,
        [this](const GgufExportTensor& tensor, int64_t number, std::span<const float> row, const std::byte* bytes) {
          std::vector<float> restored(row.size());
          decode_values(tensor.output.dtype, bytes, restored);
          rows_.at(static_cast<size_t>(number)) +=
              difference(row, restored);  // parts of one tensor one after the other
        });
    for (const GgufExportTensor& tensor : plan_.tensors)
      if (!tensor.hf_name.empty() && tensor.part == 0) types_.push_back(tensor.output.dtype);
    for (size_t i = 0; i < order_.size(); ++i) planned_bytes_ += dtype_bytes(types_.at(i), order_[i].shape.elements());
  }

  int64_t staging_bytes(const ParameterSpec& tensor) const override {
    return std::max(kStagingBytes, staging_.at(tensor.name));
  }

  void save(const std::string& tensor, const Value& value, std::span<const std::byte> data,
            std::span<std::byte> staging) override {
    const int64_t elements = value.shape.elements();
    const Shape& shape = value.shape;  // rows of the file are rows or columns of the model's, of all its experts
    rows_.assign(static_cast<size_t>(shape.rank() > 1 ? elements / std::min(shape[-1], shape[-2]) : elements), {});
    target_->save(tensor, value, data, staging);
    SquaredError sum;  // in the order of the rows, whoever wrote them
    for (const SquaredError& row : rows_) sum += row;
    const DType type = types_.at(written_.size());
    written_.push_back({tensor, std::string(dtype_name(type)), elements, dtype_bytes(type, elements), sum.relative()});
  }
  void finish() override { target_->finish(); }

 private:
  std::vector<ParameterSpec> parameters_;
  GgufExport plan_;
  std::unordered_map<std::string, int64_t> staging_;
  std::unique_ptr<GgufTarget> target_;
  std::vector<DType> types_;  // of the tensors of order()
  std::vector<SquaredError> rows_;
};

class FolderTarget : public QuantizedTarget {
 public:
  FolderTarget(const ModelFiles& model, const QuantizeOptions& options, ThreadPool& pool)
      : model_(model), options_(options), pool_(pool), folder_(options.out) {
    order_ = list_parameters(model.config);
    if (packs()) formats_ = folder_formats(model.config, options.type);
    std::vector<SafetensorsOutput> outputs;
    for (const ParameterSpec& tensor : order_) {
      if (!is_packed(tensor.name)) {
        outputs.push_back({tensor.name, rest_of(tensor), tensor.shape});
        planned_bytes_ += outputs.back().bytes();
        continue;
      }
      for (SafetensorsOutput& output :
           packed_outputs(formats_.at(tensor.name), tensor.name, tensor.shape[0], tensor.shape[1]))
        outputs.push_back(std::move(output));
      planned_bytes_ += packed_stored_bytes(formats_.at(tensor.name), tensor.shape[0], tensor.shape[1]);
    }
    writer_ = std::make_unique<SafetensorsWriter>(folder_.path() + "/model.safetensors", outputs);
  }

  int64_t staging_bytes(const ParameterSpec& tensor) const override {
    if (!is_packed(tensor.name)) return kStagingBytes;
    const int64_t rows = tensor.shape[0], cols = tensor.shape[1];
    const PackedFormat& format = formats_.at(tensor.name);
    return groups_bytes(format, rows, cols) + packed_encode_bytes(format, rows, cols);
  }

  void save(const std::string& tensor, const Value& value, std::span<const std::byte> data,
            std::span<std::byte> staging) override {
    const ParameterSpec& spec = order_.at(next_++);
    PLIMSOLL_CHECK(spec.name == tensor, "tensors come in the order of the target");
    const std::span values(reinterpret_cast<const float*>(data.data()), data.size() / sizeof(float));
    if (is_packed(tensor)) save_packed(tensor, value.shape, values.data(), staging);
    else save_plain(tensor, rest_of(spec), values, staging);
  }

  void finish() override {
    PLIMSOLL_CHECK(next_ == order_.size(), "every tensor is written");
    writer_->finish();
    QuantizationConfig config;
    if (packs()) {
      config = quantization_config_of(formats_, options_.type);
      config.static_order = options_.method == CalibrationMethod::gptq && options_.act_order;
      for (const ParameterSpec& spec : order_)
        if (spec.part == ParameterPart::head && spec.name.ends_with(".weight"))
          config.head = spec.name.substr(0, spec.name.size() - 7);
    }
    write_model_companions(model_, options_.type.rest, folder_.path(), packs() ? &config : nullptr);
    folder_.finish();
  }

 private:
  bool packs() const { return options_.type.kind == QuantizeType::Kind::packed; }
  bool is_packed(const std::string& name) const { return formats_.contains(name); }
  DType rest_of(const ParameterSpec& spec) const {
    return spec.part == ParameterPart::buffer ? DType::f32 : options_.type.rest;
  }
  static int64_t groups_bytes(const PackedFormat& format, int64_t rows, int64_t cols) {
    if (format.kind != PackedFormat::Kind::integers) return 0;
    return round_up(rows * (cols / format.group) * static_cast<int64_t>(sizeof(AffineGroup)), 64);
  }

  void save_packed(const std::string& tensor, const Shape& shape, const float* values, std::span<std::byte> staging) {
    const PackedFormat& format = formats_.at(tensor);
    const int64_t rows = shape[0], cols = shape[1], before = groups_bytes(format, rows, cols);
    const AffineGroup* groups = nullptr;
    const auto found = found_.find(tensor);
    if (found != found_.end()) {
      groups = found->second.groups.data();
    } else if (before > 0) {
      auto* chosen = reinterpret_cast<AffineGroup*>(staging.data());
      choose_groups(format, options_.clipping, options_.percentile, values, rows, cols, pool_, chosen);
      groups = chosen;
    }
    const std::span out = staging.subspan(static_cast<size_t>(before));
    SquaredError sum = encode_packed(format, rows, cols, values, groups, pool_, out);
    if (found != found_.end() && found->second.error) sum = *found->second.error;
    const int64_t bytes = packed_stored_bytes(format, rows, cols);
    writer_->write(out.first(static_cast<size_t>(bytes)));
    written_.push_back({tensor, options_.type.name, rows * cols, bytes, sum.relative()});
  }

  void save_plain(const std::string& tensor, DType type, std::span<const float> values, std::span<std::byte> staging) {
    // Values there and back: what was, what is written, what that means.
    const size_t piece = staging.size() / (2 * sizeof(float));
    auto* restored = reinterpret_cast<float*>(staging.data());
    std::byte* encoded = staging.data() + piece * sizeof(float);
    SquaredError sum;
    for (size_t first = 0; first < values.size(); first += piece) {
      const auto part = values.subspan(first, std::min(piece, values.size() - first));
      encode_values(type, part, encoded);
      decode_values(type, encoded, {restored, part.size()});
      sum += difference(part, {restored, part.size()});
      writer_->write({encoded, static_cast<size_t>(dtype_bytes(type, static_cast<int64_t>(part.size())))});
    }
    const auto elements = static_cast<int64_t>(values.size());
    written_.push_back({tensor, std::string(dtype_name(type)), elements, dtype_bytes(type, elements), sum.relative()});
  }

  const ModelFiles& model_;
  const QuantizeOptions& options_;
  ThreadPool& pool_;
  StagedFolder folder_;
  std::map<std::string, PackedFormat> formats_;
  std::unique_ptr<SafetensorsWriter> writer_;
  size_t next_ = 0;
};

}  // namespace

std::unique_ptr<QuantizedTarget> open_quantized_target(const ModelFiles& model, const QuantizeOptions& options,
                                                       ThreadPool& pool) {
  if (options.type.kind == QuantizeType::Kind::gguf) return std::make_unique<GgufQuantizedTarget>(model, options, pool);
  return std::make_unique<FolderTarget>(model, options, pool);
}

}  // namespace plimsoll
