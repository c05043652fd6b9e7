#!/usr/bin/env python3
"""Rules about the tree that no compiler checks: small files, small folders, no machine paths, nothing left unfinished.

Looks at the files that git knows (tracked, or new and not ignored).
usage: check_tree.py [ROOT]
"""

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

CODE = {".cpp", ".h", ".py", ".sh", ".js", ".css", ".html"}
WARN_LINES, MOST_LINES = 450, 900
WARN_SUBJECTS, MOST_SUBJECTS = 20, 30  # in one folder; foo.h, foo.cpp and foo_test.cpp are one subject
MOST_BYTES = 4 << 20  # of any one file
# Patterns are split so that this file does not offend against itself.
UNFINISHED = re.compile("TO" + r"DO\b|FIX" + r"ME\b|\bXX" + r"X\b|\bHA" + r"CK\b|not (?:yet )?implement" + r"ed|\bunimplement" + "ed", re.I)
MACHINE_PATH = re.compile(r"(?<![\w.$})~-])/(?:home|root|work|Users|mnt|opt|media|srv)/[\w.-]+")


def git_files(root):
    """Files that git tracks or would add, that are still there."""
    out = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=root, check=True,
                         capture_output=True).stdout.decode()
    return sorted({Path(p) for p in out.split("\0") if p and (root / p).is_file()})


def is_data(path):
    return "golden" in path.parts or "seeds" in path.parts or "catalog" in path.parts


def check(root, files):
    """(errors, warnings), each a list of lines."""
    errors, warnings, subjects = [], [], defaultdict(set)
    for path in files:
        content = (root / path).read_bytes()
        if len(content) > MOST_BYTES:
            errors.append(f"{path}: {len(content)} bytes, more than {MOST_BYTES}; large data is made or fetched, not committed")
        if is_data(path) or b"\0" in content[:4096]:
            continue
        lines = content.decode("utf-8", errors="replace").splitlines()
        if path.suffix in CODE:
            subjects[path.parent].add(path.stem.removesuffix("_test"))
            if len(lines) > MOST_LINES:
                errors.append(f"{path}: {len(lines)} lines, more than {MOST_LINES}; split it by idea")
            elif len(lines) > WARN_LINES:
                warnings.append(f"{path}: {len(lines)} lines; is it two ideas?")
        for number, line in enumerate(lines, 1):
            if MACHINE_PATH.search(line):
                errors.append(f"{path}:{number}: a path of one machine: {line.strip()[:100]}")
            if path.suffix in CODE and UNFINISHED.search(line):
                errors.append(f"{path}:{number}: reads as unfinished: {line.strip()[:100]}")
            if line != line.rstrip() and path.suffix != ".md":
                errors.append(f"{path}:{number}: blanks at the end of the line")
        if lines and not content.endswith(b"\n"):
            errors.append(f"{path}: the last line has no line end")
    for folder, names in sorted(subjects.items()):
        if len(names) > MOST_SUBJECTS:
            errors.append(f"{folder}/: {len(names)} subjects, more than {MOST_SUBJECTS}; make folders of it")
        elif len(names) > WARN_SUBJECTS:
            warnings.append(f"{folder}/: {len(names)} subjects; are there two folders in it?")
    return errors, warnings


def main():
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]
    errors, warnings = check(root, git_files(root))
    for line in warnings:
        print("warning:", line, file=sys.stderr)
    for line in errors:
        print(line, file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
