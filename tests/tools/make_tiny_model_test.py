"""tools/make_tiny_model.py writes files that are whole, agree with each other, and are the same on every run."""

import json
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))
from make_tiny_model import SPECIAL, VOCABULARY, train_bpe


class TinyModel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.out = [Path(cls.temporary.name) / name for name in ("a", "b")]
        for out in cls.out:
            subprocess.run([sys.executable, "-B", TOOLS / "make_tiny_model.py", out], check=True)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def test_the_same_bytes_every_time(self):
        files = sorted(p.relative_to(self.out[0]) for p in self.out[0].rglob("*") if p.is_file())
        self.assertEqual(len(files), 7)
        for file in files:
            self.assertEqual((self.out[0] / file).read_bytes(), (self.out[1] / file).read_bytes(), file)

    def test_weights_tile_the_file_and_fit_the_config(self):
        content = (self.out[0] / "model/model.safetensors").read_bytes()
        length = struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8:8 + length])
        config = json.loads((self.out[0] / "model/config.json").read_text())
        end = 0
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            count = 1
            for size in entry["shape"]:
                count *= size
            self.assertEqual(entry["data_offsets"], [end, end + 4 * count], name)
            end += 4 * count
        self.assertEqual(8 + length + end, len(content))
        self.assertEqual(header["model.embed_tokens.weight"]["shape"], [config["vocab_size"], config["hidden_size"]])
        self.assertEqual(sum(name.endswith("q_proj.weight") for name in header), config["num_hidden_layers"])

    def test_tokenizer_covers_every_byte_and_its_merges_exist(self):
        model = json.loads((self.out[0] / "model/tokenizer.json").read_text())["model"]
        self.assertEqual(sorted(model["vocab"].values()), list(range(VOCABULARY)))
        self.assertEqual(sum(len(token) == 1 for token in model["vocab"]), 256)
        for left, right in model["merges"]:
            self.assertTrue({left, right, left + right} <= set(model["vocab"]))
        self.assertEqual([token for token, i in model["vocab"].items() if i < len(SPECIAL)], SPECIAL)

    def test_most_frequent_pair_is_merged_first(self):
        self.assertEqual(train_bpe(["abab abab", "ab c"], 2), [("a", "b"), ("ab", "ab")])

    def test_held_out_topics_are_not_trained_on(self):
        train, heldout = ((self.out[0] / name).read_text().splitlines() for name in ("train.jsonl", "heldout.jsonl"))
        self.assertEqual((len(train), len(heldout)), (288, 32))
        self.assertFalse(set(train) & set(heldout))


if __name__ == "__main__":
    unittest.main()
