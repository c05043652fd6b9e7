#!/usr/bin/env python3
"""Fits the constants of the time model to a table of measured steps, all rows at once.

Coordinate descent on the mean of |log(predicted / measured)|, each row capped at 0.5: constants describe machines and
kernels, and no row is weighted or left out by name. Only what its row in the file calls fitted moves. Prints the new
time_constants.csv. With --leave-out the fit is made again without each source in turn, and that source's rows are
predicted by the fit that never saw them: what a new source may expect.
usage: fit_time_constants.py PLIMSOLL MEASURED.csv CONSTANTS.csv [--rounds N] [--leave-out]
"""

import argparse
import csv
import math
import os
import subprocess
import sys
import tempfile

BOUNDS = {"gemm_efficiency": (0.5, 1.0), "gemm_bytes": (0.0, 1.0), "gemm_alignment": (0.5, 1.0),
          "gemm_seconds": (1e-6, 3.5e-5), "launch_seconds": (3e-6, 5e-5), "overlap_cost": (0.0, 0.7),
          "expert_launches": (0.0, 3.0), "deterministic_launches": (1.0, 2.0), "straggler": (0.0, 0.04)}
CAP = 0.5
STEP, RATE = "step_seconds", "tokens_per_second"


class Model:
    """The program and the rows that it is asked for."""

    def __init__(self, program, table, folder):
        self.program, self.folder = program, folder
        with open(table, encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        # A repository, a paper or a site, whatever the page.
        self.source = {row["id"]: row["source"].split(" ")[0] for row in rows}
        self.table = os.path.join(folder, "measured.csv")
        with open(self.table, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(row for row in rows
                             if row["measured_step_s"] or row["measured_tokens_per_s_per_gpu"])

    def errors(self, constants):
        """(log(predicted / measured), id, quantity) of every step and rate that the program predicts."""
        path, out = os.path.join(self.folder, "constants.csv"), os.path.join(self.folder, "rows.csv")
        with open(path, "w", newline="", encoding="utf-8") as file:
            write(constants, file)
        environment = dict(os.environ, PLIMSOLL_TIME_CONSTANTS=path)
        subprocess.run([self.program, "validate", self.table, "--time-only", "--out", out], check=True,
                       stdout=subprocess.DEVNULL, env=environment)
        with open(out, encoding="utf-8") as file:
            return [((1 if row["quantity"] == STEP else -1) *
                     math.log(float(row["predicted"]) / float(row["measured"])), row["id"], row["quantity"])
                    for row in csv.DictReader(file) if row["used"] == "yes" and row["quantity"] in (STEP, RATE)]

    def loss(self, constants, without=None):
        """The mean of the capped errors, small ones counted more."""
        found = [min(abs(e), CAP) for e, row, _ in self.errors(constants) if self.source[row] != without]
        return sum(e + 0.3 * min(e, CAP / 2) for e in found) / len(found)

    def fit(self, constants, rounds, without=None):
        constants = [dict(row) for row in constants]
        best = self.loss(constants, without)
        steps = {row["name"]: 1.2 for row in constants if row["source"].startswith("fitted")}
        for number in range(rounds):
            for row in constants:
                name = row["name"]
                if name not in steps:
                    continue
                before, moved = float(row["value"]), False
                low, high = BOUNDS.get(name, (0.0, math.inf))
                for factor in (steps[name], 1 / steps[name]):
                    row["value"] = f"{min(high, max(low, before * factor)):.3g}"
                    now = self.loss(constants, without)
                    if now < best - 1e-6:
                        best, moved = now, True
                        break
                    row["value"] = f"{before:.3g}"
                if not moved:
                    steps[name] = 1 + (steps[name] - 1) / 2
            print(f"{without or 'all'}, round {number + 1}: {best:.4f}", file=sys.stderr)
            if max(steps.values()) < 1.01:
                break
        return constants


def write(constants, file):
    writer = csv.DictWriter(file, constants[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(constants)


def report(found, label):
    for quantity in (STEP, RATE):
        sign = 1 if quantity == STEP else -1
        errors = sorted(abs(math.exp(sign * e) - 1) for e, _, q in found if q == quantity)
        if errors:
            quantile = [errors[math.ceil(share * len(errors)) - 1] for share in (0.5, 0.9)]
            print(f"{label}: {quantity}, {len(errors)} rows, median {100 * quantile[0]:.1f} %, "
                  f"90 of 100 within {100 * quantile[1]:.1f} %", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("measured")
    parser.add_argument("constants")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--leave-out", action="store_true")
    options = parser.parse_args()
    with open(options.constants, encoding="utf-8") as file:
        given = list(csv.DictReader(file))
    with tempfile.TemporaryDirectory() as folder:
        model = Model(options.program, options.measured, folder)
        constants = model.fit(given, options.rounds)
        found = model.errors(constants)
        report(found, "all rows")
        if options.leave_out:
            unseen = []
            for source in sorted({model.source[row] for _, row, _ in found}):
                part = model.fit(constants, options.rounds, source)
                unseen += [each for each in model.errors(part) if model.source[each[1]] == source]
            report(unseen, "each source by a fit without it")
    measured = sorted(-e for e, _, _ in found)  # of measured over predicted
    for row in constants:
        if row["name"] == "interval_low":
            row["value"] = f"{math.exp(measured[len(measured) // 20]):.3g}"
        if row["name"] == "interval_high":
            row["value"] = f"{math.exp(measured[-1 - len(measured) // 20]):.3g}"
    write(constants, sys.stdout)


if __name__ == "__main__":
    main()
