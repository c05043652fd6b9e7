"""plimsoll data, and training on data of every kind: the same rows are the same bytes."""

import csv
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

from program import SOURCE, ProgramTest, run


def messages_of(row):
    return [message["content"] for message in row["messages"]]


class Data(ProgramTest):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp()
        subprocess.run([sys.executable, "-B", os.path.join(SOURCE, "tools", "make_tiny_model.py"), cls.folder], check=True, capture_output=True)
        cls.model = os.path.join(cls.folder, "model")
        with open(os.path.join(cls.folder, "train.jsonl"), encoding="utf-8") as file:
            cls.rows = [row for row in map(json.loads, file) if [m["role"] for m in row["messages"]] == ["user", "assistant"]][:40]
        cls.plain = cls.write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in cls.rows))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def write(cls, name, content):
        path = os.path.join(cls.folder, name)
        with open(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        return path

    def survey(self, *arguments):
        return json.loads(self.ok("data", *arguments, "--model", self.model, "--json"))

    def variants(self):
        """(file, flags) that hold the rows of rows.jsonl in other ways."""
        with open(self.plain, "rb") as file:
            text = file.read()
        turns = [messages_of(row) for row in self.rows]
        table = io.StringIO(newline="")
        writer = csv.writer(table)
        writer.writerows([["ask", "reply"], *turns])
        names = {"user": "human", "assistant": "gpt"}
        return [
            (self.write("rows.jsonl.gz", gzip.compress(text)), []),
            (self.write("list.json", json.dumps(self.rows, indent=1)), []),
            (self.write("object.json", json.dumps({"about": {"data": 1}, "data": self.rows})), []),
            (self.write("table.csv", table.getvalue()), ["--field", "instruction=ask", "output=reply"]),
            (self.write("alpaca.json", json.dumps([{"instruction": q, "input": "", "output": a} for q, a in turns])), []),
            (self.write("sharegpt.jsonl", "".join(json.dumps({"conversations": [
                {"from": names[m["role"]], "value": m["content"]} for m in row["messages"]]}) + "\n" for row in self.rows)), []),
        ]

    def test_every_kind_of_file_gives_the_same_rows_and_the_same_adapter(self):
        def adapter(file, flags):
            out = os.path.join(self.folder, "run")
            shutil.rmtree(out, ignore_errors=True)
            recipe = ["--model", self.model, "--data", file, *flags, "--seq-len", "64", "--overlong", "split", "--loss-on", "assistant", "--threads", "1"]
            planned = json.loads(self.ok("plan", *recipe, "--json"))
            done = json.loads(self.ok("train", *recipe, "--steps", "2", "--out", out, "--json"))
            self.assertEqual(done["planned_total_bytes"], planned["total_bytes"])
            self.assertLessEqual(done["peak_resident_bytes"], planned["total_bytes"])
            with open(os.path.join(out, "adapter", "adapter_model.safetensors"), "rb") as weights:
                return weights.read()

        def rows(file, flags):
            found = self.survey(file, *flags, "--loss-on", "assistant")
            return {key: found[key] for key in found if key not in ("files", "shapes")}

        expected = rows(self.plain, []), adapter(self.plain, [])
        self.assertEqual(expected[0]["rows"], 40)
        for file, flags in self.variants():
            self.assertEqual((rows(file, flags), adapter(file, flags)), expected, file)

    def test_a_long_row_is_read_inside_the_plan(self):
        for name, text in (("word", "a" * 2_000_000), ("letters", "äöЖ漢😀" * 150_000)):
            file = self.write(name + ".json", json.dumps([{"instruction": "q", "input": text, "output": "b"}], ensure_ascii=False))
            for loss_on in ("all", "assistant"):
                done = json.loads(self.ok(
                    "train", "--model", self.model, "--data", file, "--loss-on", loss_on, "--overlong", "split", "--seq-len", "32",
                    "--steps", "1", "--threads", "1", "--rank", "2", "--json", "--out", os.path.join(self.folder, name + loss_on)))
                self.assertLessEqual(done["peak_resident_bytes"], done["planned_total_bytes"], (name, loss_on))

    def test_what_the_survey_says(self):
        found = self.survey(self.plain, "--seq-len", "48")
        self.assertEqual(found["files"], [{"path": self.plain, "format": "JSONL", "compression": "", "rows": 40}])
        self.assertEqual(found["shapes"], {"chat": 40})
        self.assertEqual(sum(part["rows"] for part in found["histogram"]), 40)
        self.assertLessEqual(found["padding"]["packed"], found["padding"]["unpacked"])
        self.assertEqual(found["padding"]["unpacked_rows"], found["rows"])
        self.assertAlmostEqual(found["padding"]["unpacked"], 1 - found["tokens"] / (48 * found["rows"]))
        self.assertEqual(len(found["examples"]), 3)
        counted = self.survey(self.plain, "--loss-on", "assistant")["examples"][0]["runs"]
        self.assertTrue(any(part["counted"] and messages_of(self.rows[0])[1][:10] in part["text"] for part in counted), counted)
        self.assertFalse(any(part["counted"] and messages_of(self.rows[0])[0][:10] in part["text"] for part in counted))
        text = self.ok("data", self.plain, "--model", self.model, "--loss-on", "assistant")
        self.assertIn("40 rows; shape: chat", text)
        self.assertIn("⟦", text)
        self.assertNotIn("\033", text)

    def test_bad_rows(self):
        mixed = self.write("mixed.jsonl", '{"text": "a b"}\n' + '{"txt": 1}\n' * 12 + '{"text": "\x1b[31mc\\u001b d"}\n'.replace("\x1b", ""))
        found = self.survey(mixed)
        self.assertEqual((found["rows"], found["bad_rows"], len(found["first_bad_rows"])), (2, 12, 10))
        self.assertEqual(found["first_bad_rows"][9]["place"], mixed + ":11")
        self.assertNotIn("\033", self.ok("data", mixed, "--model", self.model))
        error, way_out = self.fails(2, "data", mixed, "--model", self.model, "--bad-rows", "fail")
        self.assertIn(":2: the row has none of the known keys", error)
        self.assertIn("--bad-rows skip", way_out)
        train = ["train", "--model", self.model, "--data", mixed, "--steps", "1", "--out", os.path.join(self.folder, "bad"), "--threads", "1"]
        self.fails(2, *train, "--quiet")
        done = run(*train, "--bad-rows", "skip")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"12 bad rows left out", done.stderr)

    def test_preference_pairs(self):
        pairs = self.write("pairs.jsonl", '{"prompt": "q", "chosen": "a b", "rejected": "c"}\n' * 3)
        found = self.survey(pairs)
        self.assertEqual(found["shapes"], {"preference": 3})
        self.assertGreater(found["rejected_tokens"], 0)
        train = ["train", "--model", self.model, "--data", pairs, "--steps", "1", "--out", os.path.join(self.folder, "pairs"), "--threads", "1"]
        error, way_out = self.fails(2, *train, "--quiet")
        self.assertIn("is a preference pair", error)
        self.assertIn("--field completion=chosen", way_out)
        self.ok(*train, "--field", "completion=chosen")

    def test_flags(self):
        self.assertIn("did you mean text=body?", self.fails(2, "data", self.plain, "--model", self.model, "--field", "txt=body")[1])
        self.fails(2, "data", self.plain, "--model", self.model, "--field", "text")
        self.fails(2, "data", self.plain, "--model", self.model, "--data-shape", "poem")
        self.assertIn("is not of the shape text", self.fails(2, "data", self.plain, "--model", self.model, "--data-shape", "text")[0])
        self.assertIn("does not exist", self.fails(2, "data", "no.jsonl", "--model", self.model)[0])
        odd = self.write("odd.bin", "hello")
        self.assertIn("name it .jsonl", self.fails(2, "data", odd, "--model", self.model)[1])


if __name__ == "__main__":
    unittest.main()
