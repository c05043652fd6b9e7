#!/usr/bin/env python3
"""Writes tests/golden/sampling/cases.json: what transformers' logits processors leave of random logits, in the order in
which its generate() applies them. Needs torch and transformers.

usage: make_sampling_golden.py OUT.json
"""

import json
import sys

import torch
from transformers import GenerationConfig
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

SETTINGS = [
    {},
    {"temperature": 0.5},
    {"temperature": 1.7},
    {"top_k": 5},
    {"top_k": 1},
    {"top_k": 1000},
    {"top_p": 0.9},
    {"top_p": 0.3},
    {"top_p": 0.01},
    {"min_p": 0.1},
    {"min_p": 0.9},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.8},
    {"temperature": 0.7, "top_k": 20, "top_p": 0.95},
    {"temperature": 1.5, "top_k": 12, "top_p": 0.8, "min_p": 0.05, "repetition_penalty": 1.2},
    {"temperature": 3.0, "top_p": 0.99, "min_p": 0.2},
]


def processors(setting):
    config = GenerationConfig(do_sample=True, **setting)
    out = LogitsProcessorList()
    if setting.get("repetition_penalty"):
        out.append(RepetitionPenaltyLogitsProcessor(penalty=config.repetition_penalty))
    if setting.get("temperature"):
        out.append(TemperatureLogitsWarper(config.temperature))
    if setting.get("top_k"):
        out.append(TopKLogitsWarper(top_k=setting["top_k"]))
    if setting.get("top_p"):
        out.append(TopPLogitsWarper(top_p=config.top_p))
    if setting.get("min_p"):
        out.append(MinPLogitsWarper(min_p=config.min_p))
    return out


def main():
    generator = torch.Generator().manual_seed(0)
    cases = []
    for setting in SETTINGS:
        logits = torch.randn(1, 40, generator=generator) * 3
        if setting.get("top_k") == 5:  # the fifth and the sixth are as likely
            order = logits[0].argsort(descending=True)
            logits[0, order[5]] = logits[0, order[4]]
        ids = torch.randint(0, 40, (1, 9), generator=generator)
        scores = processors(setting)(ids, logits.clone())
        cases.append({
            "setting": setting,
            "logits": logits[0].tolist(),
            "ids": ids[0].tolist(),
            "probabilities": torch.softmax(scores[0].double(), -1).tolist(),
        })
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(cases, file)
        file.write("\n")


if __name__ == "__main__":
    main()
