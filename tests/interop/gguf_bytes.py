#!/usr/bin/env python3
"""Quantizes one GGUF file with `plimsoll quantize` and with llama.cpp (llama-cpp-python), and counts the tensors whose
bytes are equal.

usage: gguf_bytes.py PLIMSOLL MODEL.gguf [TYPE...]      MODEL.gguf of type f32, f16 or bf16
"""

import ctypes
import subprocess
import sys
import tempfile

import gguf
import llama_cpp

FILE_TYPES = {"q4_0": 2, "q4_1": 3, "q8_0": 7, "q5_0": 8, "q5_1": 9, "q2_k": 10, "q3_k_s": 11, "q3_k_m": 12, "q3_k_l": 13,
              "q4_k_s": 14, "q4_k_m": 15, "q5_k_s": 16, "q5_k_m": 17, "q6_k": 18}


def main():
    program, model, types = sys.argv[1], sys.argv[2], sys.argv[3:] or list(FILE_TYPES)
    llama_cpp.llama_backend_init()
    different = 0
    for name in types:
        with tempfile.TemporaryDirectory() as place:
            ours, theirs = f"{place}/ours.gguf", f"{place}/theirs.gguf"
            subprocess.run([program, "quantize", model, "--type", name, "--out", ours, "--quiet"], check=True,
                           stdout=subprocess.DEVNULL)
            parameters = llama_cpp.llama_model_quantize_default_params()
            parameters.ftype = FILE_TYPES[name]
            if llama_cpp.llama_model_quantize(model.encode(), theirs.encode(), ctypes.byref(parameters)) != 0:
                sys.exit(f"llama.cpp could not write {name}")
            expected = {tensor.name: tensor for tensor in gguf.GGUFReader(theirs).tensors}
            found = gguf.GGUFReader(ours).tensors
            equal = sum(tensor.tensor_type == expected[tensor.name].tensor_type
                        and bool((tensor.data == expected[tensor.name].data).all()) for tensor in found)
        print(f"{name}: {equal} of {len(expected)} tensors equal", flush=True)
        different += equal != len(expected) or len(found) != len(expected)
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
