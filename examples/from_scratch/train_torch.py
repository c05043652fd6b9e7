#!/usr/bin/env python3
"""The same training by PyTorch: the same first weights, rows, order, AdamW, rates and clipping, in float32.

usage: train_torch.py MODEL ROWS.jsonl HELDOUT_ROWS.jsonl STEPS     needs torch and transformers
"""

import json
import math
import sys
import time

import torch
from transformers import AutoModelForCausalLM

BATCH, RATE, WARMUP, CLIP = 8, 1e-3, 20, 1.0


def rows_of(path):
    with open(path, encoding="utf-8") as file:
        return torch.tensor([json.loads(line)["input_ids"] for line in file])


def rate(step, steps):
    if step < WARMUP:
        return RATE * step / WARMUP
    return RATE * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (steps - WARMUP)))


@torch.no_grad()
def heldout_loss(model, rows):
    total = sum(model(input_ids=part, labels=part).loss.item() * len(part) for part in rows.split(BATCH))
    return total / len(rows)


def main():
    folder, rows, heldout, steps = sys.argv[1], rows_of(sys.argv[2]), rows_of(sys.argv[3]), int(sys.argv[4])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], lr=RATE)
    print(f"before: {math.exp(heldout_loss(model, heldout)):.1f}")
    start = time.time()
    for step in range(steps):
        batch = rows[[(step * BATCH + i) % len(rows) for i in range(BATCH)]]
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps)
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step}: loss {loss.item():.4f}", flush=True)
    seconds = time.time() - start
    loss = heldout_loss(model, heldout)
    print(f"after: loss {loss:.4f}, perplexity {math.exp(loss):.2f}; {steps * BATCH * rows.shape[1] / seconds:,.0f} tokens/s")


main()
