"""Text from SmolLM2-135M in few bits, beside llama.cpp: the same file, the same threads, alternating runs."""

import json
import statistics
import subprocess

from sitting import WORK, say, timed_run

TYPES = ("q4_1", "q8_0")
WAYS = {"plimsoll": (), "plimsoll bf16": ("--precision", "bf16"),
        "plimsoll q8_0 cache": ("--kv-cache", "q8_0")}  # name: flags
NEW_TOKENS = 128
PROMPT_CHARACTERS = 2250  # about 512 tokens


def model_of(kind, gguf):
    """The demo's file is Q4_1; other types are made from it."""
    if kind == "q4_1":
        return gguf
    made = WORK / f"smollm2-135m-{kind}.gguf"
    if not made.exists():
        subprocess.run([WORK / "plimsoll", "quantize", gguf, "--type", kind, "--out", made], check=True, stdout=subprocess.DEVNULL)
    return made


def prompt_of(data):
    with open(data, encoding="utf-8") as rows:
        text = " ".join(message["content"] for row in rows for message in json.loads(row)["messages"])
    return text[:PROMPT_CHARACTERS]


def run_ours(model, prompt, flags, threads):
    result, peak = timed_run([WORK / "plimsoll", "generate", model, "--prompt", prompt, "--max-tokens", NEW_TOKENS, "--temperature", 0,
                              "--threads", threads, "--json", *flags], whole=True)
    return {**{key: result[key] for key in ("prefill_tokens_per_second", "decode_tokens_per_second", "prompt_tokens")},
            "peak_resident_bytes": peak}


def run_generation(gguf, data, python, options):
    """{type: {side: [run]}}; llama.cpp is left out where the peer's environment lacks it."""
    prompt = prompt_of(data)
    peer = python and subprocess.run([python, "-c", "import llama_cpp"], capture_output=True).returncode == 0
    if python and not peer:
        say("llama-cpp-python is not there: bench/peers/setup.sh FOLDER llama.cpp builds it")
    results = {kind: {side: [] for side in (*WAYS, *(["llama.cpp"] if peer else []))} for kind in TYPES}
    for number in range(1, options.rounds + 1):
        say(f"round {number} of {options.rounds}: generation")
        for kind, sides in results.items():
            model = model_of(kind, gguf)
            for way, flags in WAYS.items():
                sides[way].append(run_ours(model, prompt, flags, options.threads))
            if peer:
                tokens = sides["plimsoll"][-1]["prompt_tokens"]
                sides["llama.cpp"].append(timed_run([python, __file__.replace("generation.py", "peers/generate.py"), model,
                                                     options.threads, tokens, NEW_TOKENS])[0])
    return results


def print_generation(results, gguf, roofline, options):
    print(f"\ngeneration, {options.threads} threads, {NEW_TOKENS} tokens behind a prompt; medians of {options.rounds} rounds. read: weights "
          f"of a token times\ntokens/s, as a share of the machine's reads of memory ({roofline['read_bytes_per_second'] / 1e9:.1f} GB/s)\n")
    print(f"{'':28}{'prompt':>10}{'':>8}{'decode':>10}{'':>8}{'read':>7}{'MiB':>7}")
    for kind, sides in results.items():
        size = model_of(kind, gguf).stat().st_size
        middle = {side: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for side, runs in sides.items()}
        peer = middle.get("llama.cpp")
        for side, one in middle.items():
            ratio = lambda key: f"{one[key] / peer[key]:7.2f}x" if peer else f"{'':8}"
            print(f"{kind + ' ' + side:28}{one['prefill_tokens_per_second']:10,.0f}{ratio('prefill_tokens_per_second')}"
                  f"{one['decode_tokens_per_second']:10,.1f}{ratio('decode_tokens_per_second')}"
                  f"{one['decode_tokens_per_second'] * size / roofline['read_bytes_per_second']:7.0%}{one['peak_resident_bytes'] / 2**20:7,.0f}")
