"""What the tokenizers library's BPE trainer (0.23.3) makes of a small text: its tokens by id and its merges.

usage: python make_bpe_training.py OUT_FOLDER
"""

import json
import random
import sys
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

WORDS = ("buffer overflow injection path traversal secret token weakness attacker input output memory check bounds user's "
         "password hash signed integer null pointer free race lock file read write naïve 漏洞 😀 0x41414141 CWE-79").split()


def main():
    out = Path(sys.argv[1])
    rng = random.Random(0)
    lines = [" ".join(rng.choices(WORDS, k=rng.randint(1, 14))) + rng.choice(["", ".", "  ", "\t!", "aaaaaaa"]) for _ in range(150)]
    (out / "corpus.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=["<|endoftext|>", "<|user|>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(lines, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    (out / "expected.json").write_text(json.dumps({"tokens": tokens, "merges": model["merges"]}, ensure_ascii=False, indent=0) + "\n")


main()
