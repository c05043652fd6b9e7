#!/usr/bin/env python3
"""Texts → rows of token ids, all of one length: the texts one after the other, an end token behind each.

usage: make_rows.py PLIMSOLL MODEL TEXTS.jsonl LENGTH > ROWS.jsonl

Plimsoll trains on texts directly and packs them itself; rows make it easy to give another trainer exactly the same.
"""

import json
import subprocess
import sys


def main():
    program, model, texts, length = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    with open(model + "/config.json", encoding="utf-8") as file:
        end = json.load(file)["eos_token_id"]
    lines = subprocess.run([program, "tokenize", model, "--file", texts, "--no-special"], check=True, stdout=subprocess.PIPE).stdout
    ids = []
    for line in lines.decode().split("\n"):
        if line:
            ids += json.loads(line)["ids"] + [end]
    for begin in range(0, len(ids) - length + 1, length):
        row = ids[begin : begin + length]
        print(json.dumps({"input_ids": row, "labels": row}))


main()
