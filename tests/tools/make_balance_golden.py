#!/usr/bin/env python3
"""Writes balance.safetensors beside golden mixtures: loss and gradients with transformers' load-balancing loss.

    make_balance_golden.py MODELS_FOLDER NAME...      (torch, transformers, safetensors)

The weight is 0.5, large enough to show; the batch is the model's own, its padding included. Kept are the gradients of
the routers and of the embedding, which hear of it.
"""
import os
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file, save_file

WEIGHT = 0.5


def main(arguments):
    if len(arguments) < 3:
        raise SystemExit(__doc__)
    torch.set_num_threads(1)
    for name in arguments[2:]:
        folder = os.path.join(arguments[1], name)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager",
            output_router_logits=True, router_aux_loss_coef=WEIGHT)
        output = model.eval()(**load_file(os.path.join(folder, "batch.safetensors")), use_cache=False)
        output.loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
        with tempfile.TemporaryDirectory() as saved:  # as save_pretrained names them
            model.save_pretrained(saved)
            gradients = load_file(os.path.join(saved, "model.safetensors"))
        kept = {"grad." + key: value for key, value in gradients.items()
                if "embed_tokens" in key or ".gate.weight" in key or ".router." in key}
        save_file({"loss": output.loss.detach(), "balance": output.aux_loss.detach(), **kept},
                  os.path.join(folder, "balance.safetensors"), {"format": "pt"})
        print(f"{name}: loss {output.loss.item():.6f}, balance {output.aux_loss.item():.6f}, {len(kept)} gradients")


if __name__ == "__main__":
    main(sys.argv)
