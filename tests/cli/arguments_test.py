import os
import re
import subprocess
import tempfile
import unittest

from program import PROGRAM, SOURCE, ProgramTest, run

COMMANDS = "inspect plan fit train generate chat eval merge tokenize tokenizer new render probe".split()
RECIPE = """model data eval-data shuffle method precision rank alpha targets rslora adapter optimizer lr lr-schedule
  warmup-steps weight-decay betas eps momentum grad-clip seq-len micro-batch global-batch steps epochs packing recompute
  ce-chunk-rows seed threads save-every eval-every loss-on memory""".split()


class Help(ProgramTest):
    def test_lists_every_command(self):
        text = self.ok("--help")
        for command in COMMANDS:
            self.assertRegex(text, rf"(?m)^  {command}\b")
        listed = text.partition("\n\n  ")[2].partition("\n\n")[0].splitlines()
        self.assertEqual([line for line in listed if not re.match(r" {0,2}[a-z-]+ +\S", line)], [])
        self.assertEqual(text, self.ok("help"))

    def test_every_command_shows_two_examples(self):
        for command in COMMANDS:
            for arguments in ([command, "--help"], [command, "-h"], ["help", command], ["--help", command][::-1]):
                text = self.ok(*arguments)
                examples = text.split("\nExamples\n")[1].strip().splitlines()
                self.assertEqual(len(examples), 2, command)
                for example in examples:
                    self.assertIn(f"plimsoll {command} ", example + " ")
                self.assertNotRegex(text, r"(?m) $")

    def test_plan_and_train_take_every_recipe_flag(self):
        for command in ("plan", "fit", "train"):
            text = self.ok(command, "--help")
            for flag in RECIPE:
                self.assertRegex(text, rf"(?m)^  --{flag}\b", command)

    def test_version(self):
        self.assertRegex(self.ok("--version"), r"^plimsoll \d+\.\d+\.\d+\n$")

    def test_recipe_page_is_up_to_date(self):
        with open(os.path.join(SOURCE, "docs", "recipes.md"), encoding="utf-8") as page:
            self.assertEqual(page.read(), self.ok("help-recipe"), "plimsoll help-recipe > docs/recipes.md")


class WrongUse(ProgramTest):
    def test_commands(self):
        self.assertEqual(self.fails(2)[0], "plimsoll: a command is missing")
        self.assertEqual(self.fails(2, "trian"), ("trian: no such command", "did you mean plimsoll train?"))
        self.assertEqual(self.fails(2, "help", "trian")[1], "did you mean plimsoll train?")
        self.assertEqual(self.fails(2, "--frobnicate", "plan")[0], "--frobnicate: no such flag before the command")
        self.fails(2, "")
        self.fails(2, "plan", "")

    def test_flags(self):
        self.assertEqual(self.fails(2, "plan", "m", "--seqlen", "3")[1], "did you mean --seq-len?")
        self.assertEqual(self.fails(2, "plan", "m", "--seq_len=3")[1], "did you mean --seq-len?")
        self.assertEqual(self.fails(2, "plan", "m", "--learning_rate", "3")[1], "did you mean --lr?")
        self.assertEqual(self.fails(2, "generate", "m", "--n-predict", "3")[1], "did you mean --max-tokens?")
        self.assertNotIn("--lr", self.fails(2, "inspect", "m", "--learning-rate", "3")[1])
        self.assertEqual(self.fails(2, "inspect", "m", "--jsno")[1], "did you mean --json?")
        self.assertEqual(self.fails(2, "inspect", "m", "-x")[0], "-x: plimsoll inspect has no such flag")
        self.assertEqual(self.fails(2, "inspect", "a", "b")[0], "b: one argument more than plimsoll inspect takes")
        self.assertEqual(self.fails(2, "inspect")[0], "MODEL: is missing")
        self.assertEqual(self.fails(2, "train", "--out", "x", "--rank"), ("--rank: its value is missing", "for example --rank 8"))
        self.assertEqual(self.fails(2, "generate", "m", "--prompt")[0], "--prompt: its value is missing")
        self.assertEqual(self.fails(2, "generate", "m")[0], "--prompt: is missing")

    def test_two_dashes_end_the_flags(self):
        self.assertEqual(self.fails(2, "inspect", "--", "-no-such-model-")[0].split(":")[0], "-no-such-model-")
        self.assertEqual(self.fails(2, "inspect", "--json", "--", "--list")[0].split(":")[0], "--list")
        self.assertIn("one argument more", self.fails(2, "inspect", "a", "--", "b")[0])

    def test_values(self):
        for arguments, thing in (
            (["--rank", "abc"], "--rank: 'abc' is not a whole number"),
            (["--rank=0"], "--rank: 0 is out of range"),
            (["--lr", "-1"], "--lr: -1 is out of range"),
            (["--betas", "0.9", "1.0"], "--betas: 1 is out of range"),
            (["--betas", "0.9"], "--betas: '0.9' is not two numbers"),
            (["--memory", "lots"], "--memory: 'lots' is not a size"),
            (["--packing", "maybe"], "--packing: 'maybe' is not on or off"),
            (["--steps", "3", "--epochs", "1"], "steps: 3 given together with epochs 1"),
            (["--micro-batch", "4", "--global-batch", "6"], "global-batch: 6 is not a multiple of micro-batch 4"),
            (["--targets", "q_proj,"], "targets: 'q_proj,' has an empty name"),
            (["--momentum", "0.9"], "momentum: 0.9 has no meaning"),
        ):
            self.assertTrue(self.fails(2, "plan", "m", *arguments)[0].startswith(thing), (arguments, thing))
        self.assertEqual(self.fails(2, "generate", "m", "--prompt", "x", "--max-tokens", "1.5")[0], "--max-tokens: '1.5' is not a whole number")
        self.assertEqual(self.fails(2, "generate", "m", "--prompt", "x", "--temperature", "-1")[0], "--temperature: -1 is out of range")

    def test_an_empty_value_is_no_value(self):
        for arguments in (("plan", "gpt2", "--buffers", ""), ("generate", "m", "--prompt", "x", "--memory="), ("generate", "m", "--prompt", "x", "--stop", ""), ("new", "--arch", "llama", "--out", "x", "--tokenizer", "")):
            self.assertRegex(self.fails(2, *arguments)[0], r"^--[a-z]+: (is empty|its value is missing)$")
        self.ok("tokenize", os.path.join(SOURCE, "tests", "golden", "tokenizer", "gpt2_bpe"), "--text", "")

    def test_train_says_what_it_needs(self):
        self.assertEqual(self.fails(2, "train")[0], "--out: is missing")
        self.assertEqual(self.fails(2, "train", "--out", "x")[0], "--model: is missing")
        self.assertEqual(self.fails(2, "train", "--out", "x", "--model", "m")[0], "--data: is missing")
        self.assertEqual(self.fails(2, "train", "m.gguf", "--out", "x")[1], "give the model as --model m.gguf")

    def test_merge_types(self):
        self.assertEqual(self.fails(2, "merge", "m", "--adapter", "a", "--out", "o", "--type", "q8")[1], "did you mean q8_0?")
        self.assertIn("GGUF only", self.fails(2, "merge", "m", "--adapter", "a", "--out", "o", "--type", "q8_0")[0])

    def test_tokenize_wants_one_text(self):
        self.fails(2, "tokenize", "m")
        self.fails(2, "tokenize", "m", "--text", "a", "--file", "b")

    def test_control_characters_stay_on_one_line(self):
        self.assertIn("\\n", self.fails(2, "inspect", "no\nsuch\nmodel")[0])
        self.assertIn("\\xff", self.fails(2, b"plan", b"m", b"--rank", b"\xff")[0])

    def test_json_keeps_stdout_clean_on_errors(self):
        for arguments in (["--json", "inspect", "no/such/model"], ["inspect", "no/such/model", "--json"]):
            done = run(*arguments)
            self.assertEqual((done.returncode, done.stdout), (2, b""))


class RecipeFiles(ProgramTest):
    def recipe(self, text):
        file = tempfile.NamedTemporaryFile("w", suffix=".toml", delete=False)
        self.addCleanup(os.unlink, file.name)
        with file:
            file.write(text)
        return file.name

    def test_errors_name_file_and_line(self):
        name = self.recipe("rank = 8\nseqlen = 3\n")
        self.assertEqual(self.fails(2, "plan", name), (f"{name} line 2: unknown key 'seqlen'", "did you mean seq_len?"))
        name = self.recipe("rank = \"eight\"\n")
        self.assertTrue(self.fails(2, "train", name, "--out", "x")[0].startswith(f"{name} line 1, rank: is text"))
        name = self.recipe("rank = = 8\n")
        self.assertTrue(self.fails(2, "plan", name)[0].startswith(f"{name} line 1: "))

    def test_missing_and_unreadable(self):
        self.assertIn("there is no such file", self.fails(2, "plan", "no/such.toml")[0])
        with tempfile.TemporaryDirectory(suffix=".toml") as folder:
            self.assertIn("is a folder", self.fails(2, "plan", folder)[0])
        self.assertIn("there is no such file", self.fails(2, "train", "--out", "no/such/run", "--resume")[0])


class Output(ProgramTest):
    def test_a_result_that_cannot_be_written_is_the_worlds_fault(self):
        if os.path.exists("/dev/full"):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([PROGRAM, "--help"], stdout=full, stderr=subprocess.PIPE, timeout=60)
            self.assertEqual(done.returncode, 4)
            self.assertRegex(done.stderr.decode(), r"^plimsoll: error: standard output: .+\n  try: .+\n$")
        for closing in (">&-", "| true; exit ${PIPESTATUS[0]}"):
            done = subprocess.run(["bash", "-c", f'for i in 1 2 3; do "$0" help-recipe || exit; done {closing}', PROGRAM],
                                  stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
            self.assertIn(done.returncode, (4, 0) if "true" in closing else (4,), done.stderr)
            self.assertFalse(re.search(rb"terminate|Traceback|core", done.stderr))


if __name__ == "__main__":
    unittest.main()
