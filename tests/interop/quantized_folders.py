#!/usr/bin/env python3
"""Logits of quantized folders in transformers (with bitsandbytes or compressed-tensors) beside those of `plimsoll probe`.

usage: quantized_folders.py PLIMSOLL FOLDER...

Two differences are shown where bitsandbytes is at work: against the model as it is loaded, whose kernels round
activations (to bf16, or to int8), and against the weights that the library restores, computed in float32.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


def linear_class(model):
    return next(type(m).__name__ for n, m in model.named_modules() if n.endswith(("down_proj", "dense_4h_to_h", "fc2")))


def restored(model):
    import bitsandbytes as bnb
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, bnb.nn.Linear4bit):
                weight = bnb.functional.dequantize_4bit(child.weight.data, child.weight.quant_state)
            elif isinstance(child, bnb.nn.Linear8bitLt):
                weight = bnb.functional.int8_vectorwise_dequant(child.weight.data, child.weight.SCB)
            else:
                continue
            plain = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=child.bias is not None)
            plain.weight.data = weight.float()
            if child.bias is not None:
                plain.bias.data = child.bias.data.float()
            setattr(module, name, plain)
    for parameter in model.parameters():
        parameter.data = parameter.data.float()
    return model


def load(folder):
    # Without a GPU transformers restores block-wise fp8 to bf16, whatever is asked for.
    blocks = '"fp8"' in (Path(folder) / "config.json").read_text()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16 if blocks else torch.float32).eval()
    if blocks:
        for parameter in model.parameters():
            parameter.data = parameter.data.float()
    return model


def main():
    program, folders = sys.argv[1], sys.argv[2:]
    for folder in folders:
        model = load(folder)
        torch.manual_seed(1)
        ids = torch.randint(0, model.config.vocab_size, (2, 24))
        with tempfile.TemporaryDirectory() as place:
            batch, out = f"{place}/batch.safetensors", f"{place}/out.safetensors"
            save_file({"input_ids": ids}, batch)
            subprocess.run([program, "probe", folder, "--batch", batch, "--out", out, "--quiet"], check=True,
                           stdout=subprocess.DEVNULL)
            ours = load_file(out)["logits"]
        with torch.no_grad():
            theirs = model(ids).logits.float()
            line = f"{folder}: largest logit {theirs.abs().max():.2f}, largest difference {(ours - theirs).abs().max():.1e}"
            if linear_class(model) in ("Linear4bit", "Linear8bitLt"):
                exact = (ours - restored(load(folder))(ids).logits).abs().max()
                line += f", with the weights that the library restores {exact:.1e}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
