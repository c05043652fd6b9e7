import csv
import io
import json
import resource
import subprocess
import unittest

from program import PROGRAM, SOURCE, ProgramTest

MODEL = f"{SOURCE}/tests/golden/params/configs/smollm2-135m/config.json"


class Fit(ProgramTest):
    def test_text_json_and_csv_agree(self):
        flags = ["fit", MODEL, "--memory", "700MiB", "--threads", "2", "--disk-rate", "1GB"]
        table = json.loads(self.ok(*flags, "--json"))
        rows = list(csv.DictReader(io.StringIO(self.ok(*flags, "--csv"))))
        text = self.ok(*flags)
        self.assertEqual([row["method"] for row in rows], [method["method"] for method in table["methods"]])
        for row, method in zip(rows, table["methods"]):
            self.assertIn(f"  {method['method']} ", text)
            for name in ("longest_seq_len", "largest_micro_batch", "smallest_budget_bytes", "total_bytes"):
                self.assertEqual(int(row[name]), method[name])
            self.assertEqual(row["fits"], "true" if method["fits"] else "false")
            self.assertEqual(method["fits"], method["predicted_tokens_per_second"] is not None)
            if method["fits"]:
                self.assertLessEqual(method["total_bytes"], 700 << 20)
        self.assertEqual(table["best"], next(method["method"] for method in table["methods"] if method["fits"]))
        self.assertIn(f"the best that fits 512 tokens: {table['best']}", text)

    def test_what_it_tries_out_is_no_flag_of_it(self):
        for flag, value in (("--method", "lora"), ("--quant", "nf4"), ("--precision", "fp32"), ("--stream", "on")):
            self.fails(2, "fit", MODEL, "--memory", "1GiB", flag, value)
        self.fails(2, "fit", MODEL)
        self.fails(2, "fit", MODEL, "--memory", "1GiB", "--json", "--csv")

    def test_the_least_is_no_more_than_a_plan_that_fits(self):
        # Of several plans with one bound, not the one with the fewest bytes by its bound packs best.
        asked = ["plan", "llama-3.1-8b", "--method", "qlora", "--seq-len", "2048", "--micro-batch", "1", "--global-batch", "1",
                 "--disk-rate", "1GB", "--json"]
        roomy = json.loads(self.ok(*asked, "--stream", "on"))
        least = roomy["smallest_budget_bytes"]
        tight = json.loads(self.ok(*asked, "--memory", str(least)))
        self.assertEqual((tight["total_bytes"], tight["smallest_budget_bytes"]), (least, least))
        near = json.loads(self.ok(*asked, "--memory", str(least + (7 << 20))))
        self.assertGreaterEqual(near["total_bytes"], least)

    def test_nothing_fits(self):
        self.fails(3, "fit", MODEL, "--memory", "1MiB")


class MemoryAuto(ProgramTest):
    def test_the_line_is_what_a_limit_leaves_less_a_tenth(self):
        limit = 1 << 30
        run = subprocess.run([PROGRAM, "plan", MODEL, "--memory", "auto", "--json"], capture_output=True, text=True,
                             preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)), check=True)
        plan = json.loads(run.stdout)
        self.assertLess(plan["budget_bytes"], limit - limit // 10)
        self.assertGreater(plan["budget_bytes"], limit // 2)
        self.assertLessEqual(plan["total_bytes"], plan["budget_bytes"])
        self.assertRegex(run.stderr, r"--memory auto: .* are free, .* of them stay free: the line is at ")


if __name__ == "__main__":
    unittest.main()
