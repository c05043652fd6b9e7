#!/usr/bin/env bash
# Sets up what Plimsoll is measured against: PyTorch, transformers and PEFT in a virtual environment of their own.
#   setup.sh FOLDER [llama.cpp]
# With llama.cpp it is built as well (llama-cpp-python, some ten minutes), without AMX: that build of 0.3.36 crashed where
# our figures were taken.
# Several GB are downloaded: PyTorch's wheel wants its CUDA libraries to be there even for a CPU. Where a CUDA 13 toolkit
# is installed, its libraries serve and only the few that no toolkit has are fetched.
set -euo pipefail
folder=${1:?usage: setup.sh FOLDER [llama.cpp]}
python3 -m venv "$folder"
pip=("$folder/bin/pip" --quiet --disable-pip-version-check install)
toolkit=${CUDA_HOME:-/usr/local/cuda}
if [ -d "$toolkit/lib64" ]; then
  "${pip[@]}" --no-deps torch==2.13.0 nvidia-nccl-cu13==2.29.7 nvidia-cusparselt-cu13==0.8.1 nvidia-nvshmem-cu13==3.4.5 \
    nvidia-cuda-cupti==13.0.85 nvidia-cufile
  "${pip[@]}" filelock typing-extensions sympy networkx jinja2 fsspec
else
  "${pip[@]}" torch==2.13.0
fi
"${pip[@]}" transformers==5.23.0 tokenizers safetensors gguf sentencepiece numpy psutil tqdm packaging pyyaml
"${pip[@]}" --no-deps peft==0.21.2 accelerate
if [ "${2:-}" = llama.cpp ]; then
  CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON -DGGML_AVX512=ON -DGGML_AVX512_VBMI=ON -DGGML_AVX512_VNNI=ON -DGGML_AVX512_BF16=ON" \
    "${pip[@]}" --no-binary llama-cpp-python llama-cpp-python==0.3.36
fi
