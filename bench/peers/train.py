"""Trains with PyTorch, transformers and PEFT on a CPU and prints one JSON line: speed, memory, losses.

usage: train.py MODEL_DIR DATA.jsonl --method lora|full --precision bf16|fp32 [--recompute] [--steps N] [--threads N]

DATA has rows of `input_ids`, all of one length; a step takes --batch of them in order. Full training keeps weights,
gradients and optimizer state in the precision itself, as the peer does where nobody asks for more.
"""

import argparse
import json
import resource
import time

import torch
from transformers import AutoModelForCausalLM


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--method", choices=("lora", "full"), required=True)
    parser.add_argument("--precision", choices=("bf16", "fp32"), required=True)
    parser.add_argument("--recompute", action="store_true", help="gradient checkpointing, as the peer calls it")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=0)
    return parser.parse_args()


def build(options):
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=dtype, attn_implementation="sdpa")
    model.config.use_cache = False
    if options.method == "lora":
        from peft import LoraConfig, get_peft_model

        # "all-linear" in PEFT means every linear layer but the head, which is what Plimsoll trains too.
        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    if options.recompute:
        if options.method == "lora":
            model.enable_input_require_grads()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model.train()


def main():
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = build(options)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0)
    with open(options.data, encoding="utf-8") as file:
        rows = [json.loads(next(file))["input_ids"] for _ in range(options.batch * options.steps)]
    seconds, losses = [], []
    for step in range(options.steps):
        ids = torch.tensor(rows[step * options.batch:(step + 1) * options.batch])
        start = time.perf_counter()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
    steady = sorted(seconds[2:] or seconds)
    print(json.dumps({
        "tokens_per_second": len(rows[0]) * options.batch / steady[len(steady) // 2],
        "peak_resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "trainable_params": sum(p.numel() for p in trained), "losses": losses}))


if __name__ == "__main__":
    main()
