#!/usr/bin/env python3
"""Cuts a byte-level BPE vocabulary down to what the cases of a golden folder can use, ids unchanged.

usage: make_reduced_vocabulary.py MODEL.gguf CASES.jsonl OUT.json

A merge can only apply where its result occurs in a text, so leaving the others out changes no ids. OUT holds the
tokenizer.ggml.* metadata; `tokens` maps ids to texts, and `size` says how many ids there are. Needs the gguf package.
"""

import json
import sys

from gguf import GGUFReader


def byte_letters():
    """Bytes as the letters of GPT-2's byte-level BPE."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in plain}
    for byte in range(256):
        if byte not in letters:
            letters[byte] = chr(256 + len(letters) - len(plain))
    return letters


def main():
    model, cases, out = sys.argv[1:]
    fields = {name: field.contents() for name, field in GGUFReader(model).fields.items()}
    letters = byte_letters()
    text = "\n".join(
        "".join(letters[byte] for byte in part.encode())
        for line in open(cases, encoding="utf-8")
        for part in [json.loads(line)["text"], json.loads(line).get("pair", "")]
    )
    tokens = fields["tokenizer.ggml.tokens"]
    types = fields["tokenizer.ggml.token_type"]
    merges = [merge for merge in fields["tokenizer.ggml.merges"] if merge.replace(" ", "") in text]
    used = set(letters.values()) | {merge.replace(" ", "") for merge in merges}
    kept = {id: token for id, token in enumerate(tokens) if types[id] != 1 or token in used}
    document = {
        key.removeprefix("tokenizer.ggml."): value
        for key, value in fields.items()
        if key.startswith("tokenizer.ggml.") and not isinstance(value, list)
    }
    document |= {"size": len(tokens), "tokens": kept, "merges": merges}
    document["token_type"] = {id: types[id] for id in kept if types[id] != 1}
    with open(out, "w", encoding="utf-8") as file:
        json.dump(document, file, ensure_ascii=False, indent=0)
        file.write("\n")


main()
