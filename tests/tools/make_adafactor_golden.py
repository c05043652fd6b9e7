#!/usr/bin/env python3
"""Writes tests/golden/adafactor/: ten steps of transformers' Adafactor on a matrix, three matrices in one tensor, and a
vector, with and without its relative step and parameter scale. Needs torch, transformers and safetensors.

usage: make_adafactor_golden.py OUT_DIR
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers.optimization import Adafactor

SHAPES = {"matrix": (70, 45), "matrices": (3, 10, 12), "vector": (50,)}
STEPS = 10
SETTINGS = {
    "plain": {"lr": 1e-3, "relative_step": False, "scale_parameter": False, "weight_decay": 0.1},
    "scaled": {"lr": 1e-2, "relative_step": False, "scale_parameter": True, "weight_decay": 0.0},
    "relative": {"lr": None, "relative_step": True, "scale_parameter": True, "weight_decay": 0.0},
}


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for name, settings in SETTINGS.items():
        generator = torch.Generator().manual_seed(7)
        tensors = {}
        parameters = {}
        for key, shape in SHAPES.items():
            start = torch.randn(shape, generator=generator) * 0.2
            tensors[f"initial.{key}"] = start.clone()
            parameters[key] = torch.nn.Parameter(start.clone())
        optimizer = Adafactor(list(parameters.values()), warmup_init=False, **settings)
        for step in range(STEPS):
            for key, parameter in parameters.items():
                gradient = torch.randn(parameter.shape, generator=generator) * (0.5 + step)
                gradient.view(-1)[::17] = 0
                tensors[f"grad.{step}.{key}"] = gradient.clone()
                parameter.grad = gradient
            optimizer.step()
            for key, parameter in parameters.items():
                tensors[f"param.{step}.{key}"] = parameter.detach().clone()
        for key, parameter in parameters.items():
            state = optimizer.state[parameter]
            for theirs, ours in (("exp_avg_sq_row", "rows"), ("exp_avg_sq_col", "columns"), ("exp_avg_sq", "rows")):
                if theirs in state:
                    tensors[f"{ours}.{key}"] = state[theirs].clone()
        save_file({key: value.contiguous() for key, value in tensors.items()}, out / f"{name}.safetensors")


if __name__ == "__main__":
    main()
