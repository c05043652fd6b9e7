"""Writes a GGUF model as a bf16 Hugging Face folder with transformers, so that the peer and we read the same weights.

usage: make_model.py FILE.gguf OUT_DIR
"""

import sys
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer


def main():
    gguf, out = Path(sys.argv[1]), Path(sys.argv[2])
    place = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    restored = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    # A model of its own: the restored one remembers that it came from a quantized file.
    config = AutoConfig.from_pretrained(**place)
    config.quantization_config = None
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(restored.state_dict())
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(**place).save_pretrained(out)


if __name__ == "__main__":
    main()
