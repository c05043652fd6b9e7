#!/usr/bin/env python3
"""Every figure of catalog/ says where it comes from, and when: devices and prices an address or a repository's file, the
other tables a sentence.

usage: check_catalog.py [ROOT]
"""

import csv
import re
import sys
from pathlib import Path

DATE = re.compile(r"20\d\d(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?")
ADDRESS = re.compile(r"https?://[\w.-]+\.\w+|(^|: )[\w.-]+/[\w.-]+ [\w./-]+\.\w+")  # or "owner/repository path/file.md"
ADDRESSED = ("devices.csv", "prices.csv", "api_prices.csv")


def check_table(path):
    problems, seen = [], set()
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        if "source" not in columns:
            return [f"{path.name}: has no column 'source'"]
        for number, row in enumerate(reader, 2):
            def wrong(what, number=number):
                problems.append(f"{path.name}:{number}: {what}")
            source = (row["source"] or "").strip()
            if None in row or None in row.values():
                wrong("has not as many fields as the first line")
            elif not source:
                wrong("has no source")
            elif path.name in ADDRESSED and row.get("figure") != "names" and not ADDRESS.search(source):
                wrong(f"'{source}' is no address and no file of a repository")
            if "date" in columns and not DATE.fullmatch(row["date"] or ""):
                wrong(f"'{row['date']}' is no date like 2026, 2026-11 or 2026-11-22")
            key = tuple(row.get(name) for name in ("device", "figure", "kind", "provider", "model", "name", "stack"))
            if key in seen:
                wrong("is there twice")
            seen.add(key)
    return problems


def main():
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]
    problems = [problem for path in sorted((root / "catalog").glob("*.csv")) for problem in check_table(path)]
    for problem in problems:
        print("catalog/" + problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
