"""Files that are none, and results that are there already."""

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import unittest

from program import GOLDEN, PROGRAM, ProgramTest, run

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
            said = run("quantize", small, "--type", "f32", "--out", large).stderr
            self.assertIn(b"not less than", said.splitlines()[0])  # before the work
            self.assertIn(b"tensor", said)

    def test_tokenizers(self):
        with tempfile.TemporaryDirectory() as folder:
            text = os.path.join(folder, "text.txt")
            with open(text, "w", encoding="utf-8") as file:
                file.write("a line of text\n" * 40)
            command = ("tokenizer", "train", text, "--vocab", "270", "--out", os.path.join(folder, "out"))
            self.ok(*command)
            self.assertIn("tokenizer.json already", self.fails(2, *command)[0])

    def test_a_file_is_no_folder(self):
        with tempfile.TemporaryDirectory() as folder:
            text, file = os.path.join(folder, "text.txt"), os.path.join(folder, "file")
            for path in (text, file):
                with open(path, "w", encoding="utf-8") as out:
                    out.write("a line of text\n" * 40)
            model = os.path.join(folder, "model")
            self.ok(*NEW, "--out", model)
            os.mkfifo(os.path.join(folder, "pipe"))
            for out in (file, os.path.join(file, "below"), os.path.join(folder, "pipe")):
                for command in (NEW, ("tokenizer", "train", text, "--vocab", "270"), ("train", "--model", model, "--data", text)):
                    problem, _ = self.fails(2, *command, "--out", out)
                    self.assertRegex(problem, "is a file|is there already")

    def test_a_killed_writer_leaves_no_piece(self):
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "model")
            for number in (signal.SIGKILL, signal.SIGTERM):
                command = (PROGRAM, "new", "--like", "qwen2.5-0.5b", "--out", out)
                with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writer:
                    while not os.path.isdir(out):
                        self.assertIsNone(writer.poll())
                    writer.send_signal(number)
                    writer.communicate()
                self.assertEqual(writer.returncode, -number)
                if os.path.isdir(out):  # the signal may come before there is anybody to remove the folder
                    self.assertEqual(os.listdir(out), [])
                    os.rmdir(out)
                self.assertEqual(os.listdir(folder), [])

    def test_what_killed_writers_left_goes(self):
        with tempfile.TemporaryDirectory() as folder:
            model = os.path.join(folder, "model")
            self.ok(*NEW, "--out", model)
            for name in (".q.partial-1", ".q.partial-2", ".q.partial-x"):
                os.mkdir(os.path.join(folder, name))
                open(os.path.join(folder, name, "model.safetensors"), "w").close()
            lock = os.open(os.path.join(folder, ".q.partial-2"), os.O_RDONLY)  # somebody still writes this one
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.ok("quantize", model, "--type", "bf16", "--out", os.path.join(folder, "q"))
            os.close(lock)
            self.assertEqual(sorted(os.listdir(folder)), [".q.partial-2", ".q.partial-x", "model", "q"])

    def test_a_full_disk_is_told_of_before_the_work(self):
        with tempfile.TemporaryDirectory() as folder:
            model, out = os.path.join(folder, "model"), os.path.join(folder, "q.gguf")
            self.ok(*NEW, "--out", model)
            problem, _ = self.fails(2, "quantize", model, "--type", "q8_0", "--out", "")
            self.assertIn("--out: is empty", problem)
            if shutil.disk_usage(folder).free > 1 << 40:
                self.skipTest("a very large disk")
            done = run("new", "--like", "llama-3.1-405b", "--type", "f32", "--out", os.path.join(folder, "huge"))
            self.assertEqual(done.returncode, 4, done.stderr)
            self.assertRegex(done.stderr.decode(), "needs .* [GT]iB, and its disk has .* free")
            self.assertEqual(os.listdir(folder), ["model"])

    def test_a_pipe_waits_aloud(self):
        with tempfile.TemporaryDirectory() as folder:
            pipe = os.path.join(folder, "pipe")
            os.mkfifo(pipe)
            with subprocess.Popen((PROGRAM, "plan", "gpt2", "--buffers", pipe), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as writer:
                self.assertIn(b"waiting for somebody to read it", writer.stderr.readline())
                with open(pipe, "rb") as file:
                    self.assertTrue(file.read().startswith(b"name,category"))
                writer.communicate()
            self.assertEqual(writer.returncode, 0)

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
