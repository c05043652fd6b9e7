#!/usr/bin/env python3
"""The include order: a stage folder of src/ may include only itself and the stages above it.

The order is the order of the plimsoll_stage lines in src/CMakeLists.txt, so it stands once. Also checked: every
include of our own files is written from src/ (or tests/support/), exists, and no file includes itself in a circle.
apps/, bench/ and tests/ may include any stage; only tests may include tests/support/.

usage: check_includes.py [ROOT]
"""

import re
import sys
from pathlib import Path

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)
STAGE = re.compile(r"^\s*plimsoll_stage\(([\w/]+)", re.MULTILINE)


def stages_in_order(root):
    return STAGE.findall((root / "src/CMakeLists.txt").read_text())


def stage_of(path, stages):
    """The stage that a path below src/ belongs to: the longest stage name that is a folder above it."""
    folder = path.parent.as_posix()
    fitting = [s for s in stages if folder == s or folder.startswith(s + "/")]
    return max(fitting, key=len, default=None)


def sources(root):
    for top in ("src", "apps", "tests", "bench", "examples"):
        for path in sorted((root / top).rglob("*")):
            if path.suffix in (".h", ".cpp"):
                yield path.relative_to(root)


def is_test(path):
    return path.parts[0] == "tests" or path.stem.endswith("_test")


def resolve(root, includer, name):
    """The file that `#include "name"` means, relative to the root; None for a file of another library."""
    tops = ["src", "tests", "."] if is_test(includer) else ["src"]
    if includer.parts[0] in ("apps", "bench", "examples"):
        tops.append(includer.parts[0])
    for top in tops:
        if (root / top / name).is_file():
            return (Path(top) / name) if top != "." else Path(name)
    return None


def check(root):
    """Every offence as one line of text."""
    stages = stages_in_order(root)
    rank = {stage: i for i, stage in enumerate(stages)}
    problems, graph = [], {}
    for path in sources(root):
        graph[path] = []
        own = stage_of(path.relative_to("src"), stages) if path.parts[0] == "src" else None
        if path.parts[0] == "src" and own is None:
            problems.append(f"{path}: its folder is no stage of src/CMakeLists.txt")
            continue
        text = (root / path).read_text(encoding="utf-8")
        for match in INCLUDE.finditer(text):
            name = match.group(1)
            where = f"{path}:{text.count(chr(10), 0, match.start()) + 1}"
            target = resolve(root, path, name)
            if target is None:
                if (root / path.parent / name).is_file() or name.split("/")[0] in {s.split("/")[0] for s in stages}:
                    problems.append(f'{where}: "{name}" is no file of src/; write includes from src/, as "base/dtype.h"')
                continue
            graph[path].append(target)
            if target.parts[:2] == ("tests", "support") and not is_test(path):
                problems.append(f'{where}: "{name}" is for tests only')
            theirs = stage_of(target.relative_to("src"), stages) if target.parts[0] == "src" else None
            if own and theirs and rank[theirs] > rank[own]:
                problems.append(f"{where}: {own}/ may not include {theirs}/, which comes after it ({name})")
    return problems + circles(graph)


def circles(graph):
    """Circles of includes, each named once."""
    found, state = [], {}

    def visit(path, trail):
        state[path] = "open"
        for target in graph.get(path, []):
            if state.get(target) == "open":
                circle = trail[trail.index(target):] + [target]
                found.append("includes in a circle: " + " -> ".join(map(str, circle)))
            elif target not in state:
                visit(target, trail + [target])
        state[path] = "done"

    for path in graph:
        if path not in state:
            visit(path, [path])
    return found


def main():
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]
    problems = check(root)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
