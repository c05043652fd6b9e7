#!/usr/bin/env python3
"""Fits the constants of the time model to a table of measured steps, all rows at once.

Coordinate descent on the mean of |log(predicted / measured)|, each row capped at 0.5: constants describe machines and
kernels, and no row is weighted or left out by name. Prints the new time_constants.csv.
usage: fit_time_constants.py PLIMSOLL MEASURED.csv CONSTANTS.csv [ROUNDS]
"""

import csv
import math
import os
import subprocess
import sys
import tempfile

BOUNDS = X
          "gemm_seconds": (1e-6, 3.5e-5), "fp8_share": (0.05, 1.0), "link_efficiency": (0.55, 1.0),
          "network_efficiency": (0.1, 1.0), "overlap_cost": (0.0, 1.0), "straggler": (0.0, 0.04)}
SET = {"hop_seconds", "interval_low", "interval_high"}
CAP = 0.5


def errors(program, table, rows, folder):
    """log(predicted / measured) of every step and rate that the program uses."""
    constants, out = os.path.join(folder, "constants.csv"), os.path.join(folder, "rows.csv")
    with open(constants, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    environment = dict(os.environ, PLIMSOLL_TIME_CONSTANTS=constants)
    subprocess.run([program, "validate", table, "--time-only", "--out", out], check=True, stdout=subprocess.DEVNULL,
                   env=environment)
    with open(out, encoding="utf-8") as file:
        found = []
        for row in csv.DictReader(file):
            if row["used"] == "yes" and row["quantity"] in ("step_seconds", "tokens_per_second"):
                sign = 1 if row["quantity"] == "step_seconds" else -1
                found.append(sign * math.log(float(row["predicted"]) / float(row["measured"])))
    return found


def loss(found):
    """The mean of the capped errors, small ones counted more."""
    return sum(min(abs(e), CAP) + 0.3 * min(abs(e), CAP / 2) for e in found) / len(found)


def main():
    program, table, path = sys.argv[1:4]
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 8
    with open(path, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with tempfile.TemporaryDirectory() as folder:
        best = loss(errors(program, table, rows, folder))
        steps = {row["name"]: 1.2 for row in rows if row["name"] not in SET}
        for number in range(rounds):
            for row in rows:
                name = row["name"]
                if name not in steps:
                    continue
                before, moved = float(row["value"]), False
                low, high = BOUNDS.get(name, (0.0, math.inf))
                for factor in (steps[name], 1 / steps[name]):
                    row["value"] = f"{min(high, max(low, before * factor)):.3g}"
                    now = loss(errors(program, table, rows, folder))
                    if now < best - 1e-6:
                        best, moved = now, True
                        break
                    row["value"] = f"{before:.3g}"
                if not moved:
                    steps[name] = 1 + (steps[name] - 1) / 2
            print(f"round {number + 1}: {best:.4f}", file=sys.stderr)
        found = sorted(-e for e in errors(program, table, rows, folder))
    for row in rows:
        if row["name"] == "interval_low":
            row["value"] = f"{math.exp(found[len(found) // 20]):.3g}"
        if row["name"] == "interval_high":
            row["value"] = f"{math.exp(found[-1 - len(found) // 20]):.3g}"
    writer = csv.DictWriter(sys.stdout, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


if __name__ == "__main__":
    main()
