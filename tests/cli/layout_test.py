"""What people read: tables fit 80 columns, piped and on a terminal."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import tempfile
import termios
import unittest

from program import GOLDEN, PROGRAM, ProgramTest, run

COMMANDS = [line.split() for line in """
inspect llama-3.1-405b
inspect --list
plan smollm2-135m --memory 300MiB
plan smollm2-135m --memory 1GiB
plan llama-3.1-8b --engine torch
plan llama-3.1-8b --engine fsdp2 --layout dp=8 --memory 80GiB
plan llama-3.1-8b --serve vllm --memory 24GiB
fit smollm2-135m --memory 300MiB --threads 8
devices
devices h100-80g
devices --prices
devices --api-prices
search llama-3.1-8b --devices h100-80g:8..16
search mixtral-8x7b --devices h100-80g:8..64 --tokens 1e12
serve-plan llama-3.1-8b --device h100-80g --users 32
approaches llama-3.1-8b --devices h100-80g:1..8 --calls 1e9
scale --flops 1e22
scale --usd 5e7 --device h100-80g
""".strip().splitlines()]
WIDE_WORD = re.compile(r"\S{60,}")  # an address stays whole


def on_terminal(*arguments, columns=80):
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen([PROGRAM, *arguments], stdout=writer, stderr=subprocess.DEVNULL, env={**os.environ, "NO_COLOR": "1", "TERM": "xterm"})
    os.close(writer)
    text = b""
    while True:
        try:
            piece = os.read(reader, 65536)
        except OSError:
            break
        if not piece:
            break
        text += piece
    process.wait()
    os.close(reader)
    return text.decode().replace("\r\n", "\n")


def is_table_row(line):
    return len(re.findall(r"\S {2,}(?=\S)", line)) >= 2


class Layout(ProgramTest):
    def check(self, text, what):
        self.assertTrue(text, what)
        for line in text.splitlines():
            if len(line) > 80:
                self.assertFalse(is_table_row(line), (what, len(line), line))

    def test_tables(self):
        for command in COMMANDS:
            self.check(run(*command).stdout.decode(), command)

    def test_terminals(self):
        for command in COMMANDS[2:4] + COMMANDS[7:12]:
            for line in on_terminal(*command).splitlines():
                self.assertTrue(len(line) <= 80 or WIDE_WORD.search(line), (command, line))

    def test_explanations_of_every_family(self):
        seen = {}
        for model in json.loads(self.ok("inspect", "--list", "--json"))["models"]:
            seen[model["architecture"]] = model["name"]
        for name in seen.values():
            self.check(self.ok("inspect", name, "--explain"), name)

    def test_comparison(self):
        with tempfile.TemporaryDirectory() as folder:
            files = []
            for number, command in enumerate((COMMANDS[12], COMMANDS[14], COMMANDS[15])):
                files.append(os.path.join(folder, f"{number}.json"))
                with open(files[-1], "w", encoding="utf-8") as file:
                    file.write(self.ok(*command, "--json"))
            self.check(self.ok("compare", *files), "compare")

    def test_validation(self):
        self.check(self.ok("validate", os.path.join(GOLDEN, "measured", "published.csv"), "--time-only"), "validate")

    def test_plan_says_when_more_memory_changes_nothing(self):
        text = self.ok("plan", "smollm2-135m", "--memory", "4GiB", "--threads", "2")
        self.assertRegex(text, r"10 % more +the same plan\n")
        self.assertRegex(text, r"(?m)^\d rows? of 512 tokens at once, \d times? a step")
        self.assertRegex(text, r"runner-up .*: \d rows? × \d times?, ")

    def test_fit_says_what_would_fit(self):
        problem, way_out = self.fails_with_table("fit", "llama-3.1-8b", "--memory", "1GiB", "--threads", "2")
        self.assertIn("no method fits", problem)
        self.assertRegex(way_out, r"plimsoll plan llama-3.1-8b --method .*: --memory \d+ is the least that works; --\S+ .* needs ")

    def fails_with_table(self, *arguments):
        done = run(*arguments)
        self.assertEqual(done.returncode, 3)
        lines = done.stderr.decode().splitlines()
        return lines[-2], lines[-1]


if __name__ == "__main__":
    unittest.main()
