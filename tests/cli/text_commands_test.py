"""tokenize and render against the golden tokenizers and templates; inspect against counted parameters."""

import csv
import json
import os
import re
import shutil
import tempfile
import unittest

from program import GOLDEN, ProgramTest, run


def golden(*parts):
    return os.path.join(GOLDEN, *parts)


class Tokenize(ProgramTest):
    def test_files_against_golden_ids(self):
        lines = 0
        for name in sorted(os.listdir(golden("tokenizer"))):
            if not os.path.exists(golden("tokenizer", name, "tokenizer.json")):
                continue
            with open(golden("tokenizer", name, "cases.jsonl"), encoding="utf-8") as file:
                cases = [json.loads(line) for line in file]
            for flags, key in ((), "ids"), (("--no-special",), "ids_without_special"):
                text = self.ok("tokenize", golden("tokenizer", name), "--file", golden("tokenizer", name, "cases.jsonl"), *flags)
                got = [json.loads(line) for line in text.strip("\n").split("\n")]
                self.assertEqual(len(got), len(cases))
                for case, line in zip(cases, got):
                    if "pair" in case and flags:
                        continue
                    self.assertEqual(line["ids"], case.get(key, case["ids"]), (name, case["text"]))
                    if not flags:
                        self.assertEqual(line["decoded"], case["decoded"], (name, case["text"]))
                        self.assertEqual(line.get("type_ids"), case.get("type_ids"), (name, case["text"]))
                    lines += 1
        self.assertGreater(lines, 100)

    def test_one_text(self):
        model = golden("tokenizer", "gpt2_bpe")
        document = json.loads(self.ok("tokenize", model, "--text", "[hello] world", "--json"))
        self.assertEqual(document["decoded"], "[hello] world")
        self.assertEqual(self.ok("tokenize", model + "/tokenizer.json", "--text", "[hello] world"), " ".join(map(str, document["ids"])) + "\n")
        self.assertEqual(json.loads(self.ok("tokenize", model, "--text", "", "--json"))["ids"], [])
        self.assertEqual(self.ok("tokenize", model, "--file", "-", stdin=b'{"text": "a"}\n\n{"text": "b"}').count("\n"), 2)

    def test_bad_lines(self):
        model = golden("tokenizer", "gpt2_bpe")
        self.assertEqual(self.fails(2, "tokenize", model, "--file", "-", stdin=b'{"text": "a"}\n{"txt": 1}')[0], '- line 2: has no "text"')
        self.assertEqual(self.fails(2, "tokenize", model, "--file", "-", stdin=b'{"text": "\xff"}')[0], "- line 1: is not JSON")
        self.assertIn("there is no such file", self.fails(2, "tokenize", model, "--file", "no/such.jsonl")[0])
        self.assertIn("is a folder", self.fails(2, "tokenize", model, "--file", model)[0])
        self.fails(2, "tokenize", golden("chat", "headers"), "--text", "a")


class TrainedTokenizer(ProgramTest):
    def test_learns_and_is_read(self):
        with tempfile.TemporaryDirectory() as folder:
            chat = os.path.join(folder, "chat.jsonl")
            with open(chat, "w", encoding="utf-8") as file:
                for i in range(40):
                    file.write(json.dumps({"messages": [{"role": "user", "content": f"buffer overflow {i}"},
                                                        {"role": "assistant", "content": "check the bounds"}]}) + "\n")
            for kind in "bpe", "unigram":
                out = os.path.join(folder, kind)
                report = json.loads(self.ok("tokenizer", "train", chat, "--vocab", "290", "--kind", kind, "--out", out, "--json"))
                self.assertEqual((report["texts"], report["kind"]), (80, kind))
                line = json.loads(self.ok("tokenize", out, "--text", "buffer bounds", "--json"))
                self.assertEqual(line["decoded"], "buffer bounds")
                self.assertLess(len(line["ids"]), len("buffer bounds"))
                with open(os.path.join(out, "tokenizer.json"), encoding="utf-8") as file:
                    self.assertNotIn("assistant", file.read(), "roles are no text")
            self.fails(2, "tokenizer", "train", chat, "--vocab", "200", "--out", folder)
            self.fails(2, "tokenizer", "learn", chat, "--vocab", "300", "--out", folder)
            self.fails(2, "tokenizer", "train", chat, "--vocab", "300", "--kind", "word", "--out", folder)
            self.fails(2, "tokenizer", "train", folder + "/none", "--vocab", "300", "--out", folder)


class Line(ProgramTest):
    def test_what_does_not_fit_names_the_families_own_targets(self):
        for name, target in ("gpt2", "c_attn"), ("pythia-70m", "query_key_value"), ("opt-125m", "q_proj,v_proj"), ("smollm2-135m", "q_proj,v_proj"):
            done = run("plan", "--model", name, "--memory", "1MiB", "--seq-len", "32", "--json")
            self.assertEqual(done.returncode, 3, done.stderr)
            document = json.loads(done.stdout)
            self.assertIn(f"--targets {target}", document["suggestions"][-1]["change"])
            least = str(document["smallest_budget_bytes"])
            self.ok("plan", "--model", name, "--memory", least, "--seq-len", "32")


class Render(ProgramTest):
    def test_golden_templates(self):
        rendered = 0
        for name in sorted(os.listdir(golden("chat"))):
            with open(golden("chat", name, "cases.json"), encoding="utf-8") as file:
                chat = json.load(file)
            with tempfile.TemporaryDirectory() as folder:
                shutil.copy(golden("chat", name, "template.jinja"), os.path.join(folder, "chat_template.jinja"))
                with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as file:
                    json.dump({"bos_token": chat["bos_token"], "eos_token": chat["eos_token"]}, file)
                if "tokenizer" in chat:
                    shutil.copy(golden(chat["tokenizer"], "tokenizer.json"), folder)
                for case in chat["cases"]:
                    rendered += self.check(folder, chat, case)
        self.assertEqual(rendered, 148)

    def check(self, folder, chat, case):
        arguments = ["--now", chat["now"]] if chat.get("now") else []
        known = {"name", "messages", "add_generation_prompt", "tools", "documents", "expected", "error", "error_type", "assistant_spans", "ids", "assistant_mask"}
        for key in ("messages", "tools", "documents"):
            if key in case:
                path = os.path.join(folder, key + ".json")
                with open(path, "w", encoding="utf-8") as file:
                    json.dump(case[key], file)
                arguments += [f"--{key}", path]
        if case.get("add_generation_prompt"):
            arguments.append("--generation-prompt")
        for key in case.keys() - known:
            arguments += ["--set", f"{key}={json.dumps(case[key])}"]
        if "error" in case:
            self.fails(2, "render", folder, *arguments)
            return 1
        self.assertEqual(self.ok("render", folder, *arguments), case["expected"], (folder, case["name"]))
        document = json.loads(self.ok("render", folder, *arguments, "--json"))
        self.assertEqual(document["text"], case["expected"])
        if "assistant_mask" in case:
            self.assertEqual((document["ids"], document["assistant_mask"]), (case["ids"], case["assistant_mask"]), case["name"])
        return 1

    def test_bad_input(self):
        folder = golden("tokenizer", "gpt2_bpe")
        self.assertIn("has no chat template", self.fails(2, "render", folder, "--messages", "-", stdin=b"[]")[0])
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(golden("chat", "plain_turns", "template.jinja"), os.path.join(folder, "chat_template.jinja"))
            self.assertIn("is not JSON", self.fails(2, "render", folder, "--messages", "-", stdin=b"[")[0])
            self.assertIn("has no list of messages", self.fails(2, "render", folder, "--messages", "-", stdin=b"{}")[0])
            self.assertIn("is not NAME=VALUE", self.fails(2, "render", folder, "--messages", "-", "--set", "x", stdin=b"[]")[0])
            self.fails(2, "render", folder, "--messages", "-", "--now", "yesterday", stdin=b"[]")


class Inspect(ProgramTest):
    def published(self):
        """(row of counts.csv, answer of inspect) for every name of the catalogue."""
        with open(golden("params", "counts.csv"), encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual(len(rows), 90)
        for row in rows:
            done = run("inspect", row["name"], "--explain", "--json")
            self.assertEqual(done.returncode, 0, done.stderr.decode())
            yield row, json.loads(done.stdout)

    def test_parameters_of_published_models(self):
        columns = (("total", "total"), ("active", "active_per_token"), ("embedding", "embedding"), ("attention", "attention"), ("mlp", "mlp_and_experts"), ("norm", "norm"), ("head", "head"))
        for row, document in self.published():
            params = document["params"]
            for field, column in columns:
                self.assertEqual(params[field], int(row[column]), (row["name"], field))
            self.assertEqual(params["total"], sum(params[part] for part in ("embedding", "attention", "mlp", "norm", "head", "other")))
            self.assertEqual(document["bytes"]["bf16"], 2 * params["total"])
            # The explanation adds up, and each of its formulas gives its count when it is worked out.
            total = 0
            self.assertNotIn("P × P", json.dumps(document, ensure_ascii=False), row["name"])
            for line in document["explanation"]:
                self.assertRegex(line["formula"], "[A-Za-z]", (row["name"], line))  # never a bare number
                numbers = (line["numbers"] or line["formula"]).replace(",", "").replace("×", "*").replace("·", "*")
                if re.fullmatch(r"[0-9 *+()]+", numbers):
                    self.assertEqual(eval(numbers), line["count"], (row["name"], line))  # digits and + * ( ) only
                else:
                    self.assertNotIn("×", line["formula"], (row["name"], line))  # a single letter
                total += line["count"] * (1 if line["layers"] is None else len(line["layers"]))
            self.assertEqual(total, params["total"], row["name"])
            if not row["class"].startswith("Deepseek"):  # keeps one latent for all heads
                self.assertEqual(document["kv_bytes_per_token"]["fp16"], 4 * document["layers"] * document["kv_heads"] * document["head_dim"])

    def test_text_of_a_count(self):
        self.assertIn("405,853,388,800 parameters", self.ok("inspect", "llama-3.1-405b"))
        text = self.ok("inspect", "llama-3.1-405b", "--explain")
        for part in ("V × H", "128,256 × 16,384", "2,101,346,304", "126 × 3,187,703,808", "401,650,679,808"):
            self.assertIn(part, text)
        self.assertRegex(text, r"total +405,853,388,800")
        tied = self.ok("inspect", "smollm2-135m", "--explain")
        self.assertRegex(tied, r"head +the embedding again +counted once +0\n")
        self.assertRegex(tied, r"the unembedding is the embedding +-28,311,552\n")
        self.assertRegex(tied, r"parameters +134,515,008\n")

    def test_the_textbook_count_of_gpt3(self):
        done = run("inspect", "gpt-3-175b", "--explain")
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        text = done.stdout.decode()
        for name, count in (("embedding", "617,558,016"), ("query", "14,495,514,624"), ("key", "14,495,514,624"), ("value", "14,495,514,624"), ("output", "14,495,514,624"), ("up", "57,982,058,496"), ("down", "57,982,058,496"), ("unembedding", "617,558,016"), ("all matrices", "175,181,291,520"), ("parameters", "174,604,259,328")):
            self.assertRegex(text, rf"\n +{name} .*{count}\n")

    def test_how_a_mixture_and_latent_attention_are_counted(self):
        text = self.ok("inspect", "deepseek-v3", "--explain")
        for formula, numbers in (("E × H × M", "256 × 7,168 × 2,048"), ("H × (c + r)", "7,168 × (512 + 64)"), ("c × heads·(n + v)", "512 × 128·(128 + 128)"), ("heads·v × H", "128·128 × 7,168")):
            self.assertIn(formula, text)
            self.assertIn(numbers, text)
        self.assertIn("A token goes through 8 of the 256 experts", text)
        self.assertRegex(text, r"\(256 − 8\)/256 × 653,908,770,816 +-633,474,121,728\n +used by one token +37,552,282,624\n")
        self.assertIn("I × H", self.ok("inspect", "gpt-oss-20b", "--explain"))  # both are 2,880
        self.assertNotIn("I 12,288", self.ok("inspect", "qwen3-235b-a22b", "--explain"))  # no layer has such an MLP

    def test_what_goes_wrong_by_hand(self):
        text = self.ok("inspect", "opt-350m", "--explain")
        for part in ("(P + 2) × H", "(2,048 + 2) × 1,024", "V × W", "356,714,496", "25,739,264", "221,184 fewer"):
            self.assertIn(part, text)
        self.assertNotIn("356,714,496", self.ok("inspect", "opt-125m", "--explain"))

    def test_missing_and_broken(self):
        self.fails(2, "inspect", "no/such/model")
        with tempfile.TemporaryDirectory() as folder:
            self.fails(2, "inspect", folder)
            config = os.path.join(folder, "config.json")
            for text in ("", "{", "[]", "{}", '{"model_type": "unheard_of"}'):
                with open(config, "w", encoding="utf-8") as file:
                    file.write(text)
                self.fails(2, "inspect", config)
            with open(os.path.join(folder, "x.gguf"), "wb") as file:
                file.write(b"GGUF\x03")
            self.fails(2, "inspect", os.path.join(folder, "x.gguf"))


if __name__ == "__main__":
    unittest.main()
