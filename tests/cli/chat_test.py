"""plimsoll chat, in a terminal and piped; generate's stop strings and what ends a text."""

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

from program import PROGRAM, SOURCE, ProgramTest


class WithTinyModel(ProgramTest):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp()
        subprocess.run([sys.executable, "-B", os.path.join(SOURCE, "tools", "make_tiny_model.py"), cls.folder], check=True, capture_output=True)
        cls.model = os.path.join(cls.folder, "model")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)


class Chat(WithTinyModel):
    def in_terminal(self, *arguments):
        child, self.terminal = pty.fork()
        if child == 0:
            os.environ["TERM"] = "xterm"
            os.execv(PROGRAM, [PROGRAM, "chat", self.model, *arguments])
        self.addCleanup(os.close, self.terminal)
        return child

    def seen(self, until):
        out, end = b"", time.monotonic() + 120
        while until not in out and time.monotonic() < end:
            if not select.select([self.terminal], [], [], 1)[0]:
                continue
            try:
                piece = os.read(self.terminal, 4096)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            out += piece
        self.assertIn(until, out)
        return out.decode(errors="strict")

    def type(self, text):
        os.write(self.terminal, text.encode())

    def left(self, child, again=None):
        # What is typed while the program changes the terminal's mode is lost, as it would be for a person.
        for second in range(120):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                self.assertEqual(os.waitstatus_to_exitcode(status), 0)
                return
            if again and second % 5 == 4:
                self.type(again)
            time.sleep(0.02 if second == 0 else 1)
        os.kill(child, 9)
        os.waitpid(child, 0)
        self.fail("the conversation does not end")

    def test_a_conversation(self):
        saved = os.path.join(self.folder, "saved.jsonl")
        child = self.in_terminal("--max-tokens", "3", "--system", "s")
        self.seen(b"> ")
        self.type("Ein Gruß\n")
        self.seen(b"> ")
        self.type("/help\n")
        self.assertIn("/save FILE", self.seen(b"> "))
        self.type("/nonsense\n")
        self.assertIn("is no command", self.seen(b"> "))
        self.type(f"/save {saved}\n")
        self.assertIn("3 messages written", self.seen(b"> "))
        with open(saved, encoding="utf-8") as file:
            messages = json.loads(file.read())["messages"]
        self.assertEqual([m["role"] for m in messages], ["system", "user", "assistant"])
        self.assertEqual(messages[1]["content"], "Ein Gruß")
        self.assertIn("Ein Gruß", self.ok("render", self.model, "--messages", saved))
        self.type("\x1b[A\x1b[A\x1b[A\x1b[A")  # the history, up to the first line
        self.seen("Gruß".encode())
        self.type("\x03")  # drops the line
        self.seen(b"> ")
        self.type("/reset\n")
        self.seen(b"> ")
        self.type(f"/save {saved}\n")
        self.assertIn("1 messages written", self.seen(b"> "))
        other = os.path.join(self.folder, "other.jsonl")
        with open(other, "w", encoding="utf-8") as file:
            file.write("mine")
        self.type(f"/save {other}\n")
        self.assertIn("is there already", self.seen(b"> "))
        self.type("\x04")
        self.left(child)

    def test_interrupts(self):
        child = self.in_terminal("--max-tokens", "400", "--temperature", "5")
        self.seen(b"> ")
        self.type("\x03")
        self.assertIn("once more", self.seen(b"> "))
        self.type("Hi\n")  # what was said in between counts anew
        time.sleep(0.3)
        self.type("\x03")  # in the answer, or at the prompt where that was quicker
        self.seen(b"> ")
        self.type("\x15/quit\n")
        self.left(child, "\x15/quit\n")

    def test_twice_at_the_prompt_leaves(self):
        child = self.in_terminal()
        self.seen(b"> ")
        self.type("\x03")
        self.seen(b"> ")
        self.type("\x03")
        self.left(child)

    def test_piped(self):
        out = self.ok("chat", self.model, "--json", "--max-tokens", "4", stdin=b"Hello\r\n\n/reset\nHello\n")
        first, second = map(json.loads, out.splitlines())
        self.assertEqual(first["token_ids"], second["token_ids"])
        self.assertIn(first["finish"], ("end", "length"))
        self.fails(2, "chat", self.model, stdin=b"/nonsense\n")
        self.fails(2, "chat", self.model, stdin=b"\xff\n")


class Generate(WithTinyModel):
    def setUp(self):
        self.prompt = ["generate", self.model, "--prompt", "The harbour", "--max-tokens", "24", "--json"]

    def test_stop_strings(self):
        whole = json.loads(self.ok(*self.prompt))
        text = whole["text"]
        self.assertGreater(len(text), 6)
        stop = text[3:5]
        place = text.index(stop)
        cut = json.loads(self.ok(*self.prompt, "--stop", "@never@", "--stop", stop))
        self.assertEqual((cut["text"], cut["finish"]), (text[:place], "stop"))
        self.assertEqual(cut["token_ids"], whole["token_ids"][: len(cut["token_ids"])])

    def test_generation_config_ends_the_text(self):
        whole = json.loads(self.ok(*self.prompt))
        self.assertEqual(whole["finish"], "length")
        ends = whole["token_ids"][2]
        config = os.path.join(self.model, "generation_config.json")
        shutil.copy(config, config + ".before")
        try:
            with open(config, "w", encoding="utf-8") as file:
                json.dump({"eos_token_id": [0, ends]}, file)
            short = json.loads(self.ok(*self.prompt))
            self.assertEqual(short["finish"], "end")
            self.assertEqual(short["token_ids"], whole["token_ids"][: whole["token_ids"].index(ends) + 1])
            with open(config, "w", encoding="utf-8") as file:
                file.write("{")
            self.assertIn("is not a JSON object", self.fails(2, *self.prompt)[0])
        finally:
            os.replace(config + ".before", config)

    def test_caches_in_fewer_bits(self):
        wide = json.loads(self.ok(*self.prompt))
        half = json.loads(self.ok(*self.prompt, "--kv-cache", "f16"))
        self.assertEqual(half["token_ids"], wide["token_ids"])
        self.assertEqual(2 * half["kv_cache_bytes"], wide["kv_cache_bytes"])
        self.assertIn("no type of a cache", self.fails(2, *self.prompt, "--kv-cache", "q9")[0])
        self.assertIn("packs 32 values, heads of this model have 16", self.fails(2, *self.prompt, "--kv-cache", "q8_0")[0])

    def test_a_line_for_the_process(self):
        free = json.loads(self.ok(*self.prompt))
        self.assertLessEqual(free["peak_resident_bytes"], free["planned_total_bytes"])
        least = int(self.fails(3, *self.prompt, "--memory", "1MiB")[1].split()[1])
        held = json.loads(self.ok(*self.prompt, "--memory", str(least)))
        self.assertEqual(held["planned_total_bytes"], least)
        self.assertEqual(held["token_ids"], free["token_ids"])
        self.assertLessEqual(held["peak_resident_bytes"], least)
        self.fails(3, *self.prompt, "--memory", str(least - 1))

    def test_sampling_is_seeded(self):
        flags = ["--temperature", "1.5", "--top-k", "50", "--top-p", "0.95", "--min-p", "0.01", "--repetition-penalty", "1.2"]
        runs = [json.loads(self.ok(*self.prompt, *flags, "--seed", seed))["token_ids"] for seed in ("1", "1", "2")]
        self.assertEqual(runs[0], runs[1])
        self.assertNotEqual(runs[0], runs[2])


if __name__ == "__main__":
    unittest.main()
