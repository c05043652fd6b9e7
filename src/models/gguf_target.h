// Writing a model as a GGUF file, tensor by tensor.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "arch/architecture.h"
#include "formats/gguf/gguf_export.h"
#include "formats/model_files.h"
#include "runtime/executor.h"

namespace plimsoll {

// What the file at `target` will hold: the model's tensors in the types that `type` says, its tokenizer and metadata.
// Caller Errors as plan_gguf_export, and for a tokenizer that GGUF cannot hold.
GgufExport plan_gguf_file(const ModelFiles& model, const std::vector<ParameterSpec>& parameters,
                          const GgufFileType& type, const std::string& target);

// The parameters in the order in which the file holds them; one that it holds twice stands twice.
std::vector<ParameterSpec> gguf_order(const GgufExport& plan, const std::vector<ParameterSpec>& parameters);

// Takes f32 tensors in that order. Nothing is left behind without finish(). `staging` of save(): at least
// gguf_staging_bytes of the tensor.
class GgufTarget : public HostServices {
 public:
  // `written` sees every row that was encoded, from any thread: the tensor of the plan, the row's number, the values,
  // their bytes.
  using Written = std::function<void(const GgufExportTensor&, int64_t, std::span<const float>, const std::byte*)>;
  GgufTarget(const std::string& path, const GgufExport& plan, ThreadPool& pool, Written written = {});

  void save(const std::string& tensor, const Value& value, std::span<const std::byte> data,
            std::span<std::byte> staging) override;
  void finish() { writer_.finish(); }

 private:
  void write_own();  // tensors that only GGUF has lie between the model's

  const GgufExport& plan_;
  ThreadPool& pool_;
  GgufWriter writer_;
  Written written_;
  size_t next_ = 0;
};

}  // namespace plimsoll
