#!/usr/bin/env python3
"""Our Python sources parse, and import or assign no name that nobody uses (with the standard library alone).

usage: check_python.py [ROOT]
"""

import ast
import sys
from pathlib import Path

from check_tree import git_files


def unused_names(tree):
    """(line, name) of imports and of local assignments that are never read; names with a leading _ are exempt."""
    read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                name = (alias.asname or alias.name).split(".")[0]
                if name not in read:
                    yield node.lineno, name
        elif isinstance(node, ast.FunctionDef):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Assign) and len(inner.targets) == 1 and isinstance(inner.targets[0], ast.Name):
                    name = inner.targets[0].id
                    if name not in read and not name.startswith("_"):
                        yield inner.lineno, name


def is_python(root, path):
    if path.suffix == ".py":
        return True
    with open(root / path, "rb") as file:
        return file.readline(64).startswith(b"#!/usr/bin/env python3")


def check(root, files):
    problems = []
    for path in files:
        if not is_python(root, path):
            continue
        try:
            tree = ast.parse((root / path).read_text(encoding="utf-8"), filename=str(path))
        except SyntaxError as error:
            problems.append(f"{path}:{error.lineno}: {error.msg}")
            continue
        problems += [f"{path}:{line}: '{name}' is never used" for line, name in sorted(set(unused_names(tree)))]
    return problems


def main():
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]
    problems = check(root, git_files(root))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
