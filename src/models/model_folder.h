// Writing a model as a Hugging Face folder.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/quantization_config.h"
#include "formats/model_files.h"
#include "formats/safetensors_writer.h"
#include "formats/signal_folder.h"
#include "runtime/executor.h"

namespace plimsoll {

// Writes tensors in the order of `entries` as `dtype`: f32 ones narrowed piece by piece through the op's staging, those
// of that type as they are.
class SafetensorsTarget : public HostServices {
 public:
  SafetensorsTarget(const std::string& path, const std::vector<SafetensorsOutput>& entries, DType dtype)
      : writer_(path, entries), dtype_(dtype) {}
  void save(const std::string& tensor, const Value& value, std::span<const std::byte> data,
            std::span<std::byte> staging) override;
  void finish() { writer_.finish(); }

 private:
  SafetensorsWriter writer_;
  DType dtype_;
};

// A folder that is there while it is written. Removed again, when it was not there before and is empty, unless kept;
// also by a signal that ends the program.
class NewFolder {
 public:
  explicit NewFolder(const std::string& path);  // World Error when it cannot be made
  ~NewFolder();
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;
  void keep() { made_ = false; }

 private:
  std::string path_;
  bool made_;
  std::optional<SignalFolder> signal_;
};

std::string make_folder(const std::string& path);  // and returns it; World Error when it cannot
// Before long work: a caller Error when `path`, or what leads to it, is a file.
void require_folder_place(const std::string& path);

// config.json, and the tokenizer, generation config and chat template that the model came with. Those of a GGUF file
// become the files of a folder, read again from it where `model` has let go of them; a tokenizer that tokenizer.json
// cannot express is left out with a warning.
// `quantization`: in which way the linears are stored, for config.json, which is written last; null: they are not.
void write_model_companions(const ModelFiles& model, DType dtype, const std::string& folder,
                            const QuantizationConfig* quantization = nullptr);

}  // namespace plimsoll
