#!/usr/bin/env python3
"""Peaks of training runs as `plimsoll validate` predicts them, beside llm-analysis (PyPI) and the formulas that people
use, on the same measured rows.

usage: memory_formulas.py PLIMSOLL TABLE.csv [TABLE.csv...]      tables with the columns of torch_peak.csv or published.csv

Formulas: 20 or 18 bytes a parameter, and 4 times the weights as stored (on published rows 16 bits, over the tensor and
pipeline ranks). They say nothing of adapters, so they are asked about full training only; llm-analysis also takes no f32 weights.
"""

import contextlib
import csv
import io
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


def parameters_of(program, config, known={}):
    if config not in known:
        run = subprocess.run([program, "inspect", config, "--json"], check=True, capture_output=True, text=True)
        known[config] = json.loads(run.stdout)["params"]["total"]
    return known[config]


def llm_analysis(row, config):
    """Weights, gradients, optimizer states and activations of one device, in bytes; None where it takes no such run."""
    from llm_analysis import analysis
    from llm_analysis.config import DtypeConfig, GPUConfig, ModelConfig, ParallelismConfig
    heads = config.get("num_attention_heads") or config.get("n_head")
    hidden = config.get("hidden_size") or config.get("n_embd")
    if row["weight_dtype"] != "bf16" or not heads or "num_local_experts" in config:
        return None
    model = ModelConfig(name=row["model"], num_layers=config.get("num_hidden_layers") or config.get("n_layer"), n_head=heads,
                        hidden_dim=hidden, vocab_size=config["vocab_size"], max_seq_len=1 << 20,
                        num_key_value_heads=config.get("num_key_value_heads") or heads,
                        expansion_ratio=(config.get("intermediate_size") or config.get("ffn_dim") or 4 * hidden) / hidden)
    gpu = GPUConfig(name="large", mem_per_GPU_in_GB=4096, hbm_bandwidth_in_GB_per_sec=2039, intra_node_bandwidth_in_GB_per_sec=300,
                    intra_node_min_message_latency=8e-6, peak_fp16_TFLOPS=312)
    recompute = analysis.ActivationRecomputation.FULL if row["recompute"] == "full" else analysis.ActivationRecomputation.NONE
    one = analysis.LLMAnalysis(model, gpu, DtypeConfig(), ParallelismConfig())
    with contextlib.redirect_stdout(io.StringIO()):
        found = one.training(batch_size_per_gpu=int(row["micro_batch"]), gradient_accumulation_steps=1, seq_len=int(row["seq_len"]),
                             activation_recomputation=recompute, layernorm_dtype_bytes=2, flash_attn="flash" in row["attention"],
                             mlp_gated_linear_units=config.get("hidden_act") in ("silu", "gelu_pytorch_tanh"))
    return sum(found[f"{part}_memory_per_gpu"] for part in ("weight", "gradient", "optimizer_state", "activation"))


def errors_of(program, table):
    """name -> absolute relative errors on rows of full training that carry bytes."""
    with tempfile.TemporaryDirectory() as place:
        subprocess.run([program, "validate", table, "--out", f"{place}/rows.csv", "--quiet"], check=True, stdout=subprocess.DEVNULL)
        with open(f"{place}/rows.csv", newline="") as file:
            ours = {row["id"]: row for row in csv.DictReader(file) if row["quantity"] in ("peak_bytes", "memory_gib") and row["used"] == "yes"}
    errors, failed = {}, 0
    with open(table, newline="") as file:
        for row in csv.DictReader(file):
            if row["id"] not in ours:
                continue
            peak, answers = float(ours[row["id"]]["measured"]), {}
            if "peak_bytes" in row:  # one device, full training
                if row["method"] != "full" or row["sharding"] not in ("", "none"):
                    continue
                config = Path(table).parent / row["config_file"]
                share = parameters_of(program, str(config))
                try:
                    answers["llm-analysis"] = llm_analysis(row, json.loads(config.read_text()))
                except Exception as error:
                    failed += 1
                    print(f"llm-analysis: {row['id']}: {error}", file=sys.stderr)
                unit = 1
            else:
                if row["method"] not in ("full", "pretrain", "sft") or not row["params_b"] or row["lora_rank"]:
                    continue
                share = float(row["params_b"]) * 1e9 / (int(float(row["tp"] or 1)) * int(float(row["pp"] or 1)))
                unit = 2**30
            stored = 4 if row.get("weight_dtype") == "fp32" else 2
            answers |= {"20 bytes a parameter": 20 * share, "18 bytes a parameter": 18 * share, "4 x weights": 4 * stored * share}
            answers["plimsoll"] = float(ours[row["id"]]["predicted"]) * unit
            for name, answer in answers.items():
                if answer is not None:
                    errors.setdefault(name, []).append(abs(answer / (peak * unit) - 1))
    if failed:
        print(f"llm-analysis could not take {failed} rows", file=sys.stderr)
    return errors


def main():
    program = os.path.abspath(sys.argv[1])
    logging.disable(logging.WARNING)
    for table in sys.argv[2:]:
        print(f"{Path(table).name}\n  {'':<22}{'rows':>6}{'median':>10}{'90 of 100':>11}{'worst':>10}")
        for name, errors in sorted(errors_of(program, table).items(), key=lambda item: statistics.median(item[1])):
            errors.sort()
            print(f"  {name:<22}{len(errors):>6}{100 * statistics.median(errors):>9.1f}%{100 * errors[int(0.9 * (len(errors) - 1))]:>10.1f}%"
                  f"{100 * errors[-1]:>9.1f}%", flush=True)


if __name__ == "__main__":
    main()
