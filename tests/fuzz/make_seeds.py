#!/usr/bin/env python3
"""Writes the seed inputs of the fuzzers into seeds/NAME/: small valid files of every shape that a parser has a branch
for. Deterministic; run it again after a change and commit what it wrote.

usage: make_seeds.py
"""

import gzip
import json
import struct
from pathlib import Path

SEEDS = Path(__file__).resolve().parent / "seeds"


def write(name, content):
    path = SEEDS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def safetensors(tensors, metadata=None, padding=0):
    """tensors: {name: (dtype, shape, bytes)}"""
    header, data = {}, b""
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header, separators=(",", ":")).encode() + b" " * padding
    return struct.pack("<Q", len(text)) + text + data


def gguf_string(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf_value(value):
    """(type id, bytes) of a Python value: bool, int (u32), float (f32), str, or a list of one of them."""
    if isinstance(value, bool):
        return 7, struct.pack("<?", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, str):
        return 8, gguf_string(value)
    items = [gguf_value(item) for item in value]
    return 9, struct.pack("<IQ", items[0][0], len(items)) + b"".join(content for _, content in items)


def gguf(metadata, tensors, version=3, alignment=32):
    """tensors: {name: (type id, dimensions with the innermost first, bytes)}"""
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for key, value in metadata.items():
        kind, content = gguf_value(value)
        out += gguf_string(key) + struct.pack("<I", kind) + content
    data = b""
    for name, (kind, dimensions, content) in tensors.items():
        out += gguf_string(name) + struct.pack("<I", len(dimensions)) + struct.pack(f"<{len(dimensions)}Q", *dimensions)
        out += struct.pack("<IQ", kind, len(data))
        data += content + b"\0" * (-len(content) % alignment)
    return out + b"\0" * (-len(out) % alignment) + data


def make_files():
    f32 = struct.pack("<6f", *range(6))
    write("safetensors/two_tensors", safetensors({"a.weight": ("F32", [2, 3], f32), "b": ("BF16", [4], f32[:8])}, {"format": "pt"}, 5))
    write("safetensors/scalar_and_empty", safetensors({"s": ("F64", [], f32[:8]), "e": ("F16", [0, 4], b"")}))
    write("safetensors/no_tensor", safetensors({}))
    write("safetensors/other_types", safetensors({t: (t, [2], f32[: 2 * n]) for t, n in
                                                  (("I64", 8), ("I32", 4), ("I16", 2), ("U8", 1), ("BOOL", 1), ("F8_E4M3", 1))}))
    model = {
        "general.architecture": "llama", "general.alignment": 32, "llama.block_count": 1, "llama.context_length": 64,
        "llama.embedding_length": 32, "llama.feed_forward_length": 64, "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2, "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.freq_base": 10000.0,
        "llama.vocab_size": 4, "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": ["<s>", "a", "b", "ab"], "tokenizer.ggml.token_type": [3, 1, 1, 1],
        "tokenizer.ggml.merges": ["a b"], "tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": "{{ messages[0].content }}",
    }
    block = bytes(range(128))
    write("gguf/model", gguf(model, {"token_embd.weight": (2, [32, 4], block[:72]), "output_norm.weight": (0, [32], block)}))
    write("gguf/quantized", gguf({"general.architecture": "llama"}, {
        "a": (8, [32], block[:34]), "b": (3, [32, 2], block[:40]), "c": (30, [3], block[:6]), "d": (1, [2, 2, 2], block[:16])}))
    experts = {
        "general.architecture": "gpt-oss", "gpt-oss.block_count": 1, "gpt-oss.context_length": 64,
        "gpt-oss.embedding_length": 32, "gpt-oss.feed_forward_length": 2, "gpt-oss.attention.head_count": 4,
        "gpt-oss.attention.head_count_kv": 2, "gpt-oss.attention.layer_norm_rms_epsilon": 1e-5,
        "gpt-oss.expert_count": 2, "gpt-oss.expert_used_count": 1, "gpt-oss.attention.sliding_window": 8,
    }
    stack = block[:68]  # 2 experts, 2 rows, a block of 17 bytes each
    write("gguf/turned_experts", gguf(experts, {
        "token_embd.weight": (2, [32, 4], block[:72]), "blk.0.attn_sinks.weight": (0, [4], block[:16]),
        "blk.0.ffn_gate_exps.weight": (39, [32, 2, 2], stack), "blk.0.ffn_up_exps.weight": (39, [32, 2, 2], stack),
        "blk.0.ffn_gate_exps.bias": (0, [2, 2], block[:16]), "blk.0.ffn_up_exps.bias": (0, [2, 2], block[:16])}))
    write("gguf/empty", gguf({}, {}))
    write("gguf/version_2", gguf({"general.name": "x", "n": [1.0, 2.0], "deep": [[1], [2, 3]]}, {}, version=2))


def make_texts():
    base = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 256, "max_position_embeddings": 128,
            "rms_norm_eps": 1e-5, "tie_word_embeddings": True}
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 64}
    yarn = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 32, "beta_slow": 1}
    write("hf_config/llama_new", json.dumps(base | {"rope_parameters": llama3 | {"rope_theta": 5e5}, "dtype": "bfloat16"}))
    write("hf_config/llama_old", json.dumps(base | {"rope_theta": 1e4, "rope_scaling": yarn, "torch_dtype": "float32"}))
    write("hf_config/mistral", json.dumps(base | {"model_type": "mistral", "sliding_window": 8, "head_dim": 16}))
    write("hf_config/qwen3", json.dumps(base | {"model_type": "qwen3", "attention_bias": False, "head_dim": 32,
                                                "layer_types": ["full_attention", "sliding_attention"],
                                                "use_sliding_window": True, "sliding_window": 4}))
    golden = SEEDS.parents[1] / "golden" / "models"
    for seed, source in (("gpt2", "gpt2/config.json"), ("falcon", "falcon40b_style/config.json"), ("opt", "opt_350m_style/config.json"),
                         ("gpt_neox_old", "gpt_neox/config_legacy.json"), ("bloom", "bloom/config.json")):
        write(f"hf_config/{seed}", (golden / source).read_bytes())
    write("hf_config/broken_numbers", json.dumps(base | {"hidden_size": -1, "vocab_size": 1e300, "num_attention_heads": "4"}))

    plain = {"quant_type": "fp4", "blocksize": 128, "dtype": "float32", "shape": [7, 5]}
    write("bnb4_state/plain", json.dumps(plain))
    write("bnb4_state/nested", json.dumps(plain | {"quant_type": "nf4", "dtype": "bfloat16", "nested_blocksize": 256,
                                                   "nested_dtype": "float32", "nested_offset": 0.22187702357769012}))

    vocabulary = {"<s>": 0, "a": 1, "b": 2, "ab": 3, "Ġ": 4, "Ġa": 5}
    added = [{"id": 0, "content": "<s>", "single_word": False, "lstrip": False, "rstrip": True, "normalized": False, "special": True}]
    split = {"type": "Split", "pattern": {"Regex": "\\p{L}+|\\p{N}{1,3}|\\s+(?!\\S)|."}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {"version": "1.0", "added_tokens": added, "normalizer": {"type": "NFC"},
                 "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
                 "post_processor": {"type": "TemplateProcessing", "single": [
                     {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [],
                     "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
                 "decoder": {"type": "ByteLevel"},
                 "model": {"type": "BPE", "vocab": vocabulary, "merges": [["a", "b"], ["Ġ", "a"]], "unk_token": None,
                           "byte_fallback": False, "ignore_merges": False}}
    write("tokenizer_json/byte_level_bpe", json.dumps(tokenizer))
    tokenizer["model"]["merges"] = ["a b", "Ġ a"]
    tokenizer["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
                               {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}
    tokenizer["pre_tokenizer"] = {"type": "Digits", "individual_digits": True}
    write("tokenizer_json/old_merges", json.dumps(tokenizer))
    write("tokenizer_json/unknown_model", json.dumps({"model": {"type": "Elsewhere"}}))

    write("chat_template/loop", "{% for m in messages %}[{{ m.role }}] {{ m['content'] | trim }}{{ eos_token }}\n{% endfor %}"
          "{% if add_generation_prompt %}[assistant] {% endif %}")
    write("chat_template/control", "{%- set ns = namespace(found=false) -%}{% for m in messages if m.role != 'x' %}"
          "{% if loop.first and not ns.found %}{% set ns.found = true %}{{ loop.index0 }}{% elif loop.last %}{% break %}"
          "{% else %}{% continue %}{% endif %}{% else %}none{% endfor %}")
    write("chat_template/macro", "{% macro show(x, y=1) %}{{ x ~ y }}{% endmacro %}{{ show('a') }}{{ [1, 2][-1] }}"
          "{{ {'a': 1}.items() | list | tojson(indent=2) }}{{ 'x' if 1 is defined else 'y' }}")
    write("chat_template/raises", "{{ raise_exception('no ' + messages[0].role) }}")
    write("chat_template/slices", "{{ messages[1:][::-1] | length }}{{ 'a b'.split(' ') | join(',') }}{{ 7 // 2 ** 2 % 3 }}"
          "{# note #}{% generation %}{{ strftime_now('%Y') }}{% endgeneration %}{% filter upper %}x{% endfilter %}")

    chat = {"messages": [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "A weakness — ü\n"}]}
    write("jsonl/text", '{"text": "one"}\n{"text": "two \\u00e9 \\ud83d\\ude00"}\n')
    write("jsonl/chat", json.dumps(chat) + "\n\n" + json.dumps(chat, ensure_ascii=False))
    write("jsonl/ids", '{"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}\r\n{"input_ids": [4]}\n')
    write("jsonl/wrong", '{"text": 1}\n[]\n{"messages": [{"role": "user"}]}\n{"input_ids": [1e30, -1], "labels": []}\n')

    rows = [chat, {"text": "one"}, {"prompt": "2+2=", "completion": "4"},
            {"instruction": "Add.", "input": "1 1", "output": "2", "history": [["a", "b"]], "system": "s"},
            {"question": "q", "answer": "a"},
            {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yo"}], "tools": "[]"},
            {"chosen": "a", "rejected": "b", "prompt": "p"},
            {"chosen": chat["messages"], "rejected": chat["messages"][:1]},
            {"input_ids": [1, 2, 3], "labels": [-100, 2, 3], "attention_mask": [0, 1, 1]}]
    for number, row in enumerate(rows):
        write(f"row_shapes/{number}", bytes([number * 29 % 256]) + (json.dumps(row) + "\n").encode() * 2)
    write("csv/quotes", 'text,n\r\n"a, ""b""\r\nc",1\r\n\r\nd,\r\n"",x')
    write("csv/semicolons", '"prompt";completion\na,b;2\n1\n"x"y;z\n')
    write("csv/lists", 'messages,text\n"[{""role"": ""user"", ""content"": ""q""}]",[x\n"open\n')
    write("csv/tabs", "instruction\toutput\nadd\t2\n")
    write("json_rows/list", json.dumps(rows, indent=1))
    write("json_rows/object", json.dumps({"version": {"data": [1]}, "k\"": "}", "data": rows[:3], "n": [1, {"a": 2}]}))
    write("json_rows/lines", "".join(json.dumps(row) + "\n" for row in rows[:3]))
    write("json_rows/text", "A line.\nAnother.\n\n\nA paragraph — ü.\r\n")
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    write("packed/gzip", gzip.compress(text, mtime=0))
    write("packed/two_members", gzip.compress(text, 1, mtime=0) + gzip.compress(text, 9, mtime=0))
    # A Zstandard frame of raw and run-length blocks (RFC 8878), and a skippable frame.
    content = text[:200]
    raw = len(content) << 3
    run = 1 | 1 << 1 | 100 << 3
    frame = struct.pack("<IBB", 0xFD2FB528, 0, 0x50) + raw.to_bytes(3, "little") + content + run.to_bytes(3, "little") + b"\n"
    write("packed/zstd", struct.pack("<II", 0x184D2A50, 3) + b"abc" + frame)

    commit, blob = "0123456789" * 4, "ab" * 20
    files = [{"rfilename": name, "size": 5, "blobId": blob} for name in ("config.json", "tokenizer.json", "sub/a.gguf", "../x")]
    weights = {"rfilename": "model-1.safetensors", "blobId": blob, "lfs": {"sha256": "cd" * 32, "size": 9}}
    write("hub_listing/model", json.dumps({"id": "org/name", "sha": commit, "siblings": files + [weights]}))
    write("hub_listing/gguf", json.dumps({"sha": commit, "siblings": files[2:]}))
    write("hub_listing/wrong", json.dumps({"sha": commit, "siblings": [{"rfilename": 1, "size": -1, "lfs": []}, {"size": 1e40}]}))
    write("hub_listing/index", json.dumps({"metadata": {"total_size": 9}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}))
    write("hub_listing/id", "org/name@refs/pr/1:sub/model-q4_0.gguf")


def make_quantized():
    """Configs of quantized folders; tensors behind two bytes that say in which way (see fuzz_packed_tensor.cpp)."""
    scheme = {"num_bits": 4, "type": "int", "symmetric": False, "strategy": "group", "group_size": 32}
    fp8 = {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [128, 128]}
    for name, config in {
        "nf4": {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
        "int8": {"quant_method": "bitsandbytes", "load_in_8bit": True, "llm_int8_skip_modules": None},
        "fp8": {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"},
        "integers": {"quant_method": "compressed-tensors", "format": "pack-quantized", "dequantize": True,
                     "config_groups": {"group_0": {"targets": ["Linear"], "weights": scheme}, "group_1": {"weights": scheme}}},
        "floats": {"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {"group_0": {"weights": fp8}}},
        "other": {"quant_method": "gptq", "bits": 4},
    }.items():
        write(f"quantization_config/{name}", json.dumps({"quantization_config": config}))
    golden = Path(__file__).resolve().parents[1] / "golden/quant"
    for name in ("linear_nf4_plain", "linear_nf4_double", "linear_fp4_double"):
        write(f"packed_tensor/{name}", b"\0\0" + (golden / f"bnb4_state_dict/{name}.safetensors").read_bytes())
    f32 = lambda count: struct.pack(f"<{count}f", *[0.01 * (i + 1) for i in range(count)])
    write("packed_tensor/int8", b"\1\0" + safetensors({"a.weight": ("I8", [4, 8], bytes(range(32))), "a.SCB": ("F32", [4], f32(4)),
                                                    "a.weight_format": ("U8", [], b"\0")}))
    for bits in (2, 3, 4, 8):
        words, zeros = (64 * bits + 31) // 32, (8 * bits + 31) // 32
        write(f"packed_tensor/integers{bits}", bytes([2, bits - 2]) + safetensors({
            "a.weight_packed": ("I32", [8, words], bytes(i % 251 for i in range(8 * words * 4))),
            "a.weight_scale": ("F32", [8, 2], f32(16)), "a.weight_shape": ("I64", [2], struct.pack("<2q", 8, 64)),
            "a.weight_zero_point": ("I32", [zeros, 2], b"\x77" * (zeros * 8))}))
    write("packed_tensor/fp8", b"\3\0" + safetensors({"a.weight": ("F8_E4M3", [4, 8], bytes(range(32))), "a.weight_scale": ("F32", [1], f32(1)),
                                                   "a.input_scale": ("F32", [1], f32(1))}))
    write("packed_tensor/fp8_block", b"\4\0" + safetensors({"a.weight": ("F8_E4M3", [20, 40], bytes(i % 127 for i in range(800))),
                                                         "a.weight_scale_inv": ("F32", [2, 3], f32(6)), "b.weight": ("F32", [2], f32(2))}))
    write("packed_tensor/mxfp4", b"\5\0" + safetensors({"a.down_proj_blocks": ("U8", [2, 3, 2, 16], bytes(range(192))),
                                                     "a.down_proj_scales": ("U8", [2, 3, 2], bytes(range(120, 132)))}))


if __name__ == "__main__":
    make_files()
    make_quantized()
    make_texts()
