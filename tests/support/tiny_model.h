// For tests: a random llama in the Hugging Face layout, and rows of random ready ids to train it on.
#pragma once

#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "arch/architecture.h"
#include "support/tensor_files.h"
#include "support/tiny_config.h"

namespace plimsoll {

// Writes `folder`/config.json and model.safetensors (f32); returns the folder.
inline std::string write_random_model(const std::string& folder, const ModelConfig& config) {
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/config.json") << write_hf_config(config, DType::f32);
  const std::vector<ParameterSpec> parameters = list_parameters(config);
  std::vector<SafetensorsOutput> entries;
  for (const ParameterSpec& spec : parameters) entries.push_back({spec.name, DType::f32, spec.shape});
  SafetensorsWriter writer(folder + "/model.safetensors", entries);
  std::mt19937 engine(7);
  for (const ParameterSpec& spec : parameters) {
    std::vector<float> values(static_cast<size_t>(spec.shape.elements()));
    for (float& value : values)
      value = spec.part == ParameterPart::norm ? 1.0F : 0.1F * (static_cast<float>(engine() >> 8) / 8388608.0F - 1.0F);
    writer.write(std::as_bytes(std::span(values)));
  }
  writer.finish();
  return folder;
}

// `rows` lines of shortest … longest ids, a pure function of the arguments.
inline std::string write_random_rows(const std::string& path, int rows, unsigned shortest, unsigned longest,
                                     unsigned vocabulary) {
  std::ofstream file(path);
  std::mt19937 engine(11);
  for (int row = 0; row < rows; ++row) {
    const unsigned length = shortest + engine() % (longest - shortest + 1);
    file << "{\"input_ids\": [";
    for (unsigned i = 0; i < length; ++i) file << (i == 0 ? "" : ", ") << engine() % vocabulary;
    file << "]}\n";
  }
  return path;
}

}  // namespace plimsoll
