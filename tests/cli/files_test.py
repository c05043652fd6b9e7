"""Files that are none, and results that are there already."""

import os
import tempfile
import unittest

from program import GOLDEN, ProgramTest, run

NEW = ("new", "--arch", "llama", "--layers", "1", "--hidden", "64", "--heads", "2", "--vocab", "512")


class NoFiles(ProgramTest):
    """A pipe could wait for ever and a device never end: both are refused, by name."""

    def refuse(self, make):
        with tempfile.TemporaryDirectory() as folder:
            pipe = os.path.join(folder, "pipe")
            os.mkfifo(pipe)
            for path, what in ((pipe, "pipe|regular"), ("/dev/zero", "device|regular"), (folder, "folder|no config|not a file")):
                error, _ = self.fails(2, *make(path))
                self.assertRegex(error, what)

    def test_inputs(self):
        tokenizer = os.path.join(GOLDEN, "tokenizer", "gpt2_bpe")
        for make in (
            lambda path: ("inspect", path),
            lambda path: ("plan", path),
            lambda path: ("plan", "smollm2-135m", "--data", path),
            lambda path: ("train", "--model", path, "--data", path, "--out", path + ".out"),
            lambda path: ("tokenize", tokenizer, "--file", path),
            lambda path: ("tokenizer", "train", path, "--vocab", "300", "--out", path + ".out"),
            lambda path: ("validate", path),
            lambda path: ("compare", path),
            lambda path: ("export", path, "--to", "megatron"),
        ):
            self.refuse(make)

    def test_data(self):
        with tempfile.TemporaryDirectory() as folder:
            text, model = os.path.join(folder, "text.txt"), os.path.join(folder, "model")
            with open(text, "w", encoding="utf-8") as file:
                file.write("a line of text\n" * 40)
            self.ok("tokenizer", "train", text, "--vocab", "270", "--out", os.path.join(folder, "tokenizer"))
            self.ok(*NEW, "--tokenizer", os.path.join(folder, "tokenizer"), "--chat-template", "chatml", "--out", model)
            for make in (
                lambda path: ("data", path, "--model", model),
                lambda path: ("render", model, "--messages", path),
                lambda path: ("eval", model, "--data", path),
                lambda path: ("plan", model, "--data", path),
                lambda path: ("train", "--model", model, "--data", path, "--out", os.path.join(folder, "run")),
                lambda path: ("train", "--model", model, "--data", text, "--eval-data", path, "--out", os.path.join(folder, "run")),
                lambda path: ("probe", model, "--batch", path, "--out", os.path.join(folder, "out")),
                lambda path: ("quantize", model, "--type", "int4", "--group-size", "8", "--calibrate", path, "--method", "gptq", "--out", os.path.join(folder, "q")),
            ):
                self.refuse(make)

    def test_recipe(self):
        with tempfile.TemporaryDirectory() as folder:
            pipe = os.path.join(folder, "recipe.toml")
            os.mkfifo(pipe)
            self.assertIn("is a pipe", self.fails(2, "plan", pipe)[0])
            os.remove(pipe)
            os.symlink("/dev/zero", pipe)
            self.assertIn("is a device", self.fails(2, "plan", pipe)[0])

    def test_tokenizer_of_a_folder(self):
        with tempfile.TemporaryDirectory() as folder:
            os.symlink("/dev/zero", os.path.join(folder, "tokenizer.json"))
            self.fails(2, "tokenize", folder, "--text", "a")
            self.fails(2, "tokenize", os.path.join(folder, "tokenizer.json"), "--text", "a")

    def test_standard_input_is_one(self):
        tokenizer = os.path.join(GOLDEN, "tokenizer", "gpt2_bpe")
        self.assertTrue(self.ok("tokenize", tokenizer, "--file", "-", stdin=b'{"text": "a"}\n'))


class Results(ProgramTest):
    """A finished result is never written over."""

    def test_models(self):
        with tempfile.TemporaryDirectory() as folder:
            model, small = os.path.join(folder, "model"), os.path.join(folder, "small.gguf")
            self.ok(*NEW, "--out", model)
            self.assertIn("config.json already", self.fails(2, *NEW, "--out", model)[0])
            self.ok("quantize", model, "--type", "q8_0", "--out", small)
            before = os.stat(small)
            self.assertIn("is there already", self.fails(2, "quantize", model, "--type", "q4_0", "--out", small)[0])
            problem, way_out = self.fails(2, "merge", model, "--adapter", "none", "--out", small)
            self.assertIn("is there already", problem)
            self.assertIn("another name", way_out)
            self.assertIn("config.json already", self.fails(2, "merge", small, "--adapter", "none", "--out", model)[0])
            self.assertEqual((before.st_ino, before.st_mtime_ns), (os.stat(small).st_ino, os.stat(small).st_mtime_ns))
            # A folder that has other things takes a model.
            os.mkdir(os.path.join(folder, "notes"))
            open(os.path.join(folder, "notes", "README"), "w").close()
            self.ok(*NEW, "--out", os.path.join(folder, "notes"))

    def test_a_larger_result_is_said(self):
        with tempfile.TemporaryDirectory() as folder:
            model, small, large = (os.path.join(folder, name) for name in ("model", "small.gguf", "large.gguf"))
            self.ok(*NEW, "--out", model)
            self.assertNotIn(b"not less than", run("quantize", model, "--type", "q8_0", "--out", small).stderr)
            self.assertIn(b"not less than", run("quantize", small, "--type", "f32", "--out", large).stderr)

    def test_tokenizers(self):
        with tempfile.TemporaryDirectory() as folder:
            text = os.path.join(folder, "text.txt")
            with open(text, "w", encoding="utf-8") as file:
                file.write("a line of text\n" * 40)
            command = ("tokenizer", "train", text, "--vocab", "270", "--out", os.path.join(folder, "out"))
            self.ok(*command)
            self.assertIn("tokenizer.json already", self.fails(2, *command)[0])

    def test_configurations(self):
        with tempfile.TemporaryDirectory() as folder:
            plan, out = os.path.join(folder, "plan.json"), os.path.join(folder, "megatron.sh")
            with open(plan, "w", encoding="utf-8") as file:
                file.write(self.ok("search", "llama-3.1-8b", "--devices", "h100-80g:8", "--json"))
            command = ("export", plan, "--to", "megatron", "--out", out)
            self.ok(*command)
            self.assertIn("is there already", self.fails(2, *command)[0])
            self.ok(*command[:-1], "/dev/null")


if __name__ == "__main__":
    unittest.main()
