"""What the parts of the bench share: where things lie, and one timed run of a program."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build-bench"


def say(text):
    print(text, file=sys.stderr, flush=True)


def fail(text, way_out):
    say(f"./dev bench: error: {text}\n  try: {way_out}")
    sys.exit(4)


def timed_run(arguments, whole=False):
    """(JSON that it printed, in its last line or `whole`; peak resident bytes of the process as the kernel counted them)"""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as log:
        child = subprocess.Popen([str(a) for a in arguments], stdout=out, stderr=log)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0), log.seek(0)
        if child.returncode != 0:
            fail(f"{Path(str(arguments[0])).name} ended with {child.returncode}: {log.read().decode()[-400:].strip()}",
                 "run it alone: " + " ".join(map(str, arguments)))
        text = out.read().decode().strip()
        return json.loads(text if whole else text.splitlines()[-1]), usage.ru_maxrss * 1024
