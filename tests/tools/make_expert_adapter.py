#!/usr/bin/env python3
"""Writes an adapter of the experts and the attention of a golden mixture, and what PEFT makes of it.

    make_expert_adapter.py MODELS_FOLDER NAME OUT      (torch, transformers, peft, safetensors)

OUT receives adapter_config.json and adapter_model.safetensors with adapters for each linear of each expert, and
expected.safetensors with the logits of transformers and PEFT on the model's batch.
"""
import json
import os
import re
import sys

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

RANK, ALPHA, SPREAD = 2, 6, 0.2
ATTENTION = ("q_proj", "v_proj")


def main(arguments):
    if len(arguments) != 4:
        raise SystemExit(__doc__)
    torch.set_num_threads(1)
    folder, out = os.path.join(arguments[1], arguments[2]), arguments[3]
    generator = torch.Generator().manual_seed(0)
    adapter, targets = {}, set()
    for name, weight in sorted(load_file(os.path.join(folder, "model.safetensors")).items()):
        match = re.fullmatch(r"(.*\.(\w+))\.weight", name)
        if not match or not (".experts." in name or match[2] in ATTENTION):
            continue
        targets.add(match[2])
        for letter, shape in (("A", (RANK, weight.shape[1])), ("B", (weight.shape[0], RANK))):
            adapter[f"base_model.model.{match[1]}.lora_{letter}.weight"] = SPREAD * torch.randn(shape, generator=generator)
    os.makedirs(out, exist_ok=True)
    save_file(adapter, os.path.join(out, "adapter_model.safetensors"), {"format": "pt"})
    with open(os.path.join(out, "adapter_config.json"), "w", encoding="utf-8") as file:
        json.dump({"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": ALPHA, "target_modules": sorted(targets)}, file)
        file.write("\n")
    base = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager")
    batch = load_file(os.path.join(folder, "batch.safetensors"))
    batch.pop("labels")
    with torch.no_grad():
        logits = peft.PeftModel.from_pretrained(base, out).eval()(**batch, use_cache=False).logits
    save_file({"logits": logits}, os.path.join(out, "expected.safetensors"), {"format": "pt"})
    print(arguments[2], len(adapter), "tensors")


if __name__ == "__main__":
    main(sys.argv)
