"""What the tests of the program share: run it, and check the shape of an error."""

import os
import subprocess
import unittest

PROGRAM = os.environ["PLIMSOLL"]
SOURCE = os.environ["PLIMSOLL_SOURCE"]
GOLDEN = os.path.join(SOURCE, "tests", "golden")


def run(*arguments, stdin=b"", **options):
    return subprocess.run([PROGRAM, *arguments], input=stdin, capture_output=True, timeout=600, **options)


class ProgramTest(unittest.TestCase):
    def ok(self, *arguments, **options):
        done = run(*arguments, **options)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return done.stdout.decode()

    def fails(self, code, *arguments, **options):
        """Checks the two lines of the contract and gives (error line, way out)."""
        done = run(*arguments, **options)
        self.assertEqual(done.returncode, code, (arguments, done.stdout[:500], done.stderr))
        lines = done.stderr.decode().splitlines()
        lines = [line for line in lines if not line.startswith("plimsoll: warning: ")]
        self.assertEqual(len(lines), 2, lines)
        self.assertRegex(lines[0], r"^plimsoll: error: .+: .+")
        self.assertRegex(lines[1], r"^  try: .+")
        return lines[0].removeprefix("plimsoll: error: "), lines[1].removeprefix("  try: ")
