"""Small SentencePiece models and the ids and texts that SentencePiece's own library (0.2.3) gives for them.

usage: python make_sentencepiece.py OUT_FOLDER
"""

import json
import random
import sys
from pathlib import Path

import sentencepiece

WORDS = ("buffer overflow injection path traversal secret token weakness attacker input output memory check "
         "bounds user password hash signed integer null pointer free race lock file read write").split()
TEXTS = ["", " ", "Hello world", "  two  spaces ", "a\nb\tc", "buffer overflow", "é ü ñ", "😀 ok", "日本語", "null\x00byte",
         "UPPER lower 123 4567", "<user>hi", "x" * 50, "weakness: attacker-controlled input!", "ﬁ ² ①", "\u00a0nbsp"]


def main():
    out = Path(sys.argv[1])
    rng = random.Random(0)
    corpus = out / "corpus.txt"
    out.mkdir(parents=True, exist_ok=True)
    corpus.write_text("\n".join(" ".join(rng.choices(WORDS, k=12)) for _ in range(400)) + "\nHello, World 0123456789!\n")
    kinds = {"bpe": dict(model_type="bpe", vocab_size=420, byte_fallback=True, user_defined_symbols=["<user>"],
                         normalization_rule_name="identity", remove_extra_whitespaces=False),
             "unigram": dict(model_type="unigram", vocab_size=160, normalization_rule_name="identity"),
             "no_space_before": dict(model_type="bpe", vocab_size=420, byte_fallback=True, add_dummy_prefix=False,
                                     normalization_rule_name="identity", remove_extra_whitespaces=False)}
    for name, options in kinds.items():
        folder = out / name
        folder.mkdir(exist_ok=True)
        sentencepiece.SentencePieceTrainer.train(input=str(corpus), model_prefix=str(folder / "tokenizer"),
                                                 minloglevel=2, hard_vocab_limit=False, **options)
        (folder / "tokenizer.vocab").unlink()
        model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
        texts = TEXTS + [" ".join(rng.choices(WORDS, k=6)) for _ in range(10)]
        with open(folder / "cases.jsonl", "w") as file:
            for text in texts:
                ids = model.encode(text)
                case = {"text": text, "ids": ids}
                if model.unk_id() not in ids:
                    case["decoded"] = model.decode(ids)
                file.write(json.dumps(case) + "\n")
    corpus.unlink()


main()
