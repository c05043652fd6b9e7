#!/usr/bin/env python3
"""Chats → texts: what is said, with a blank line between question and answer.

usage: make_texts.py CHATS.jsonl > TEXTS.jsonl
"""

import json
import sys


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        for line in file:
            turns = [message["content"] for message in json.loads(line)["messages"]]
            print(json.dumps({"text": "\n\n".join(turns)}, ensure_ascii=False))


main()
