#!/usr/bin/env python3
"""Makes a small random model and a small text of our own, to go the whole way without any download.

usage: make_tiny_model.py OUT_DIR

Writes OUT_DIR/model/ (a Hugging Face folder of llama type: config.json, model.safetensors in float32, tokenizer.json, a
byte-level BPE trained on the text, tokenizer_config.json with a chat template), OUT_DIR/train.jsonl and
OUT_DIR/heldout.jsonl (chat messages; held out by topic). Only the standard library; the same bytes on every run.
"""

import array
import json
import random
import re
import struct
import sys
from collections import Counter
from pathlib import Path

from tiny_corpus import ENTRIES, conversations

HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS, CONTEXT = 64, 160, 2, 4, 2, 512
VOCABULARY = 512
SPECIAL = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
HELDOUT_TOPICS = 4
TEMPLATE = ("{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|assistant|>{% endif %}")
# What tokenizers' ByteLevel splits at, for text in ASCII.
WORD = re.compile(r"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")


def byte_letters():
    """The printable character that byte-level BPE writes for each byte: itself where it is visible, else the next one
    from 256 on."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, spare = {b: chr(b) for b in visible}, 256
    for byte in range(256):
        if byte not in letters:
            letters[byte], spare = chr(spare), spare + 1
    return letters


def train_bpe(texts, merges_wanted):
    """The merges of byte-pair encoding, most frequent pair first; ties go to the smaller pair."""
    letters = byte_letters()
    words = Counter(tuple(letters[b] for b in word.encode()) for text in texts for word in WORD.findall(text))
    merges = []
    while len(merges) < merges_wanted:
        pairs = Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = Counter({merge(word, best): count for word, count in words.items()})
    return merges


def merge(word, pair):
    out, i = [], 0
    while i < len(word):
        joined = word[i:i + 2] == pair
        out.append(word[i] + word[i + 1] if joined else word[i])
        i += 2 if joined else 1
    return tuple(out)


def tokenizer_files(texts):
    letters = [byte_letters()[b] for b in range(256)]
    merges = train_bpe(texts, VOCABULARY - len(SPECIAL) - len(letters))
    tokens = SPECIAL + letters + ["".join(pair) for pair in merges]
    assert len(set(tokens)) == len(tokens) == VOCABULARY
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    added = [{"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for i, token in enumerate(SPECIAL)]
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {token: i for i, token in enumerate(tokens)}, "merges": [list(pair) for pair in merges]},
    }
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "pad_token": "<|pad|>",
              "model_max_length": CONTEXT, "clean_up_tokenization_spaces": False, "chat_template": TEMPLATE}
    return tokenizer, config


def model_config():
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "head_dim": HIDDEN // HEADS, "vocab_size": VOCABULARY,
        "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
        "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True, "initializer_range": 0.02,
        "bos_token_id": None, "eos_token_id": SPECIAL.index("<|end|>"), "pad_token_id": SPECIAL.index("<|pad|>"),
        "torch_dtype": "float32",
    }


def tensor_shapes():
    """{name: (shape, standard deviation)}; norms have none, they are 1."""
    kv = HIDDEN // HEADS * KV_HEADS
    shapes = {"model.embed_tokens.weight": ((VOCABULARY, HIDDEN), 0.1), "model.norm.weight": ((HIDDEN,), None)}
    for layer in range(LAYERS):
        p = f"model.layers.{layer}."
        for name, out, of in (("self_attn.q_proj", HIDDEN, HIDDEN), ("self_attn.k_proj", kv, HIDDEN), ("self_attn.v_proj", kv, HIDDEN),
                              ("self_attn.o_proj", HIDDEN, HIDDEN), ("mlp.gate_proj", INTERMEDIATE, HIDDEN),
                              ("mlp.up_proj", INTERMEDIATE, HIDDEN), ("mlp.down_proj", HIDDEN, INTERMEDIATE)):
            shapes[f"{p}{name}.weight"] = ((out, of), of**-0.5)
        for name in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{p}{name}.weight"] = ((HIDDEN,), None)
    return shapes


def write_safetensors(path, seed=0):
    numbers, header, data = random.Random(seed), {}, bytearray()
    for name, (shape, deviation) in sorted(tensor_shapes().items()):
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        # Even distribution of this deviation: random() is the one generator that Python promises never to change.
        half_width = (deviation or 0) * 3**0.5
        values = array.array("f", [1.0] * count if deviation is None else [half_width * (2 * numbers.random() - 1) for _ in range(count)])
        if sys.byteorder == "big":
            values.byteswap()
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [len(data), len(data) + 4 * count]}
        data += values.tobytes()
    text = json.dumps({"__metadata__": {"format": "pt"}} | header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(data))


def write_data(out):
    """The chat files; returns every text, for the tokenizer."""
    rows = list(conversations())
    random.Random(1).shuffle(rows)
    heldout = {name for name, *_ in ENTRIES[::len(ENTRIES) // HELDOUT_TOPICS]}
    for file, wanted in (("train.jsonl", False), ("heldout.jsonl", True)):
        lines = [json.dumps({"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]})
                 for topic, q, a in rows if (topic in heldout) == wanted]
        (out / file).write_text("\n".join(lines) + "\n")
    return [text for _, q, a in rows for text in (q, a)]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = Path(sys.argv[1])
    (out / "model").mkdir(parents=True, exist_ok=True)
    tokenizer, tokenizer_config = tokenizer_files(write_data(out))
    for name, content in (("config.json", model_config()), ("tokenizer.json", tokenizer), ("tokenizer_config.json", tokenizer_config),
                          ("generation_config.json", {"eos_token_id": SPECIAL.index("<|end|>")})):
        (out / "model" / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    write_safetensors(out / "model/model.safetensors")


if __name__ == "__main__":
    main()
