"""plan --engine, plan --serve and validate."""

import csv
import json
import os
import tempfile
import unittest

from program import GOLDEN, ProgramTest, run


class PlanEngine(ProgramTest):
    def test_three_figures_with_intervals(self):
        plan = json.loads(self.ok("plan", "smollm2-135m", "--engine", "torch", "--method", "full", "--seq-len", "256", "--json"))
        figures = [plan[name] for name in ("allocated", "reserved", "device_used")]
        for figure in figures:
            self.assertLessEqual(figure["low"], figure["bytes"])
            self.assertLessEqual(figure["bytes"], figure["high"])
        self.assertLess(figures[0]["bytes"], figures[1]["bytes"])
        self.assertLess(figures[1]["bytes"], figures[2]["bytes"])
        self.assertEqual(sum(plan["at_peak"].values()), figures[0]["bytes"])
        self.assertEqual(plan["profile"], "torch")
        self.assertIsNone(plan["fits"])

    def test_a_traced_row_from_the_command_line(self):
        with open(os.path.join(GOLDEN, "measured", "torch_peak.csv"), encoding="utf-8") as file:
            row = next(row for row in csv.DictReader(file) if row["id"] == "tp-0001")
        config = os.path.join(GOLDEN, "measured", row["config_file"])
        plan = json.loads(self.ok("plan", config, "--engine", "torch", "--method", "full", "--seq-len", row["seq_len"],
                                  "--micro-batch", row["micro_batch"], "--engine-optimizer", row["optimizer"], "--json"))
        self.assertAlmostEqual(plan["allocated"]["bytes"] / int(row["peak_bytes"]), 1, places=5)

    def test_layouts(self):
        plan = json.loads(self.ok("plan", "llama-3.1-8b", "--engine", "megatron", "--method", "full", "--layout",
                                  "dp=2,tp=4,pp=2,zero=1,sp=1", "--seq-len", "1024", "--json"))
        self.assertEqual((plan["devices"], plan["profile"]), (16, "megatron"))
        self.fails(2, "plan", "llama-3.1-8b", "--engine", "megatron", "--layout", "tp=4;pp=2")
        self.fails(2, "plan", "llama-3.1-8b", "--engine", "megatron", "--layout", "zero=4")
        self.fails(2, "plan", "llama-3.1-8b", "--layout", "tp=4")

    def test_offload_is_shown_by_place(self):
        def plan(layout):
            return json.loads(self.ok("plan", "llama-3.1-8b", "--engine", "deepspeed", "--method", "full", "--layout",
                                      layout, "--json"))
        device, host = plan("dp=8,zero=3"), plan("dp=8,zero=3,offload=all")
        nvme = plan("dp=8,zero=3,offload=all,offload_to=nvme")
        self.assertEqual((device["host_bytes"], device["nvme_bytes"]), (0, 0))
        self.assertGreater(host["host_bytes"], 18 * 10**9)
        self.assertEqual(host["nvme_bytes"], 0)
        self.assertGreater(nvme["nvme_bytes"], 16 * 10**9)
        self.assertGreater(nvme["host_pinned_bytes"], 10**9)
        self.assertLess(host["allocated"]["bytes"], device["allocated"]["bytes"])
        self.fails(2, "plan", "llama-3.1-8b", "--engine", "fsdp2", "--method", "full", "--layout",
                   "dp=8,zero=3,offload=optimizer")

    def test_the_verdict_knows_the_interval(self):
        asked = ["plan", "llama-3.1-8b", "--engine", "deepspeed", "--method", "full", "--layout",
                 "dp=16,zero=3,offload=all", "--recompute", "all"]
        plan = json.loads(self.ok(*asked, "--json"))
        self.assertEqual(plan["host_bytes_of_node"], 8 * plan["host_bytes"])
        self.assertEqual(plan["recipe"]["recompute"], "all")
        used = plan["device_used"]
        text = self.ok(*asked, "--memory", str(used["high"]))
        self.assertIn("fits: ", text)
        self.assertIn("of a node with 8 ranks: ", text)
        self.assertIn("planned: all weights, weights bf16", text)
        self.assertIn("may not fit: ", self.ok(*asked, "--memory", str(used["bytes"])))
        from program import run
        done = run(*asked, "--memory", str(used["low"]))
        self.assertEqual(done.returncode, 3)
        self.assertIn("the interval begins at", done.stdout.decode())

    def test_a_device_has_a_line_and_a_speed(self):
        asked = ["plan", "llama-3.1-8b", "--engine", "megatron", "--method", "full", "--layout", "dp=2,tp=4,zero=1,sp=1",
                 "--global-batch", "16", "--seq-len", "4096"]
        self.assertIsNone(json.loads(self.ok(*asked, "--json"))["time"])
        with tempfile.TemporaryDirectory() as place:
            trace = os.path.join(place, "trace.json")
            plan = json.loads(self.ok(*asked, "--device", "h100-80g", "--trace", trace, "--json"))
            with open(trace, encoding="utf-8") as file:
                self.assertGreater(len(json.load(file)["traceEvents"]), 0)
        self.assertEqual(plan["time"]["tokens_per_step"], 16 * 4096)
        self.assertTrue(0.2 < plan["time"]["mfu"] < 0.7, plan["time"])
        self.assertAlmostEqual(sum(plan["time"]["seconds_by_cause"].values()), plan["time"]["step_seconds"], places=6)
        self.assertTrue(plan["fits"])
        with tempfile.TemporaryDirectory() as place:
            file = os.path.join(place, "plan.json")
            with open(file, "w", encoding="utf-8") as out:
                json.dump(plan, out)
            compared = json.loads(self.ok("compare", file, "--json"))["plans"][0]
        self.assertEqual((compared["devices"], compared["bytes_per_device"], compared["seconds"]),
                         (8, plan["device_used"]["bytes"], plan["time"]["step_seconds"]))
        self.fails(3, *asked, "--device", "l4")
        self.fails(2, *asked, "--device", "h1000")
        self.fails(2, *asked, "--trace", "trace.json")
        self.fails(2, "plan", "llama-3.1-8b", "--device", "h100-80g")
        serving = ["plan", "llama-3.1-8b", "--serve", "vllm", "--seq-len", "8192", "--json"]
        self.assertEqual(self.ok(*serving, "--device", "h100-80g"), self.ok(*serving, "--memory", "81559MiB"))

    def test_flags_that_would_count_for_nothing(self):
        self.fails(2, "plan", "llama-3.1-8b", "--engine", "torch", "--disk-rate", "6GB")
        self.fails(2, "plan", "llama-3.1-8b", "--engine", "torch", "--catalog", ".")
        self.fails(2, "plan", "smollm2-135m", "--catalog", ".")

    def test_targets_that_no_layer_has(self):
        for engine in ("torch", "megatron", "deepspeed"):
            self.fails(2, "plan", "llama-3.1-8b", "--engine", engine, "--targets", "nope")
            self.fails(2, "plan", "falcon-7b", "--engine", engine, "--targets", "q_proj")
        self.fails(2, "search", "llama-3.1-8b", "--devices", "h100-80g:1", "--method", "lora", "--targets", "nope")
        self.fails(2, "plan", "llama-3.1-8b", "--engine", "megatron", "--method", "full", "--layout", "pp=2,vpp=0,first=3")

    def test_what_a_target_cannot_start_is_not_searched(self):
        for flags in (["llama-3.2-1b", "--method", "lora", "--for", "megatron"],
                      ["llama-3.2-1b", "--method", "qlora", "--base", "8bit", "--for", "unsloth"],
                      ["gpt2", "--for", "torchtune"], ["llama-3.2-1b", "--for", "x"], ["llama-3.2-1b", "--engine", "x"],
                      ["llama-3.2-1b", "--price-kind", "x"], ["llama-3.2-1b", "--price-max", "0"]):
            self.fails(2, "search", flags[0], "--devices", "h100-80g:1..2", "--quick", *flags[1:])

    def test_searching_with_qlora(self):
        asked = ["search", "llama-3.1-8b", "--devices", "h100-80g:1..2", "--quick", "--json"]
        packed = json.loads(self.ok(*asked, "--method", "qlora"))
        same = json.loads(self.ok(*asked, "--method", "lora", "--base", "4bit"))
        self.assertEqual((packed["recipe"], packed["best"]), (same["recipe"], same["best"]))
        self.fails(2, *asked, "--method", "qlora", "--base", "16bit")

    def test_a_device_that_is_too_small(self):
        done = self.fails_with_text("plan", "llama-3.1-8b", "--engine", "torch", "--method", "full", "--memory", "24GiB")
        self.assertIn("device used", done)

    def fails_with_text(self, *arguments):
        from program import run
        done = run(*arguments)
        self.assertEqual(done.returncode, 3, done.stderr)
        return done.stdout.decode()

    def test_weights_that_cannot_be_trained(self):
        self.fails(2, "plan", "llama-3.1-8b", "--engine", "torch", "--method", "full", "--weights", "nf4")
        self.fails(2, "plan", "llama-3.1-8b", "--engine", "torch", "--weights", "q9")


class PlanServe(ProgramTest):
    def test_users(self):
        serve = ("plan", "llama-3.1-8b", "--serve", "vllm", "--seq-len", "8192", "--json")
        one = json.loads(self.ok(*serve, "--memory", "40GiB"))
        two = json.loads(self.ok(*serve, "--memory", "80GiB"))
        self.assertGreater(one["most_users"], 0)
        self.assertGreater(two["most_users"], 2 * one["most_users"])
        self.assertEqual(one["kv_bytes_per_token"], 131072)
        self.fails(2, *serve)
        self.assertIn("--memory ", self.fails(3, *serve, "--memory", "12GiB")[1])
        self.fails(2, "plan", "llama-3.1-8b", "--serve", "nobody", "--memory", "40GiB")

    def test_a_gguf_file_is_served_as_it_is(self):
        folder = os.path.join(GOLDEN, "gguf", "llama")
        for engine in ("llama.cpp", "plimsoll"):
            for name in ("q8_0", "q4_k_m", "f32"):
                plan = ("plan", os.path.join(folder, f"tiny-{name}.gguf"), "--serve", engine, "--seq-len", "8",
                        "--memory", "4GiB", "--json")
                of_type = plan + ("--weights", name)
                self.assertEqual(json.loads(self.ok(*plan))["weights_bytes"],
                                 json.loads(self.ok(*of_type))["weights_bytes"], (engine, name))

    def test_serving_with_types_of_gguf_files(self):
        def bytes_of(engine, weights):
            return json.loads(self.ok("plan", "llama-3.1-8b", "--serve", engine, "--weights", weights, "--memory", "24GiB", "--json"))["weights_bytes"]

        self.assertEqual(bytes_of("llama.cpp", "q4_k_m"), 4912898304)  # see ServingMemory.TypesOfGgufFiles
        self.assertEqual(bytes_of("plimsoll", "q4_k_m"), bytes_of("llama.cpp", "q4_k_m"))
        self.assertIn("is q4_k_m", self.fails(2, "plan", "llama-3.1-8b", "--serve", "vllm", "--weights", "q4_k_m", "--memory", "24GiB")[0])
        self.assertIn("q4_k_m", self.fails(2, "plan", "llama-3.1-8b", "--serve", "llama.cpp", "--weights", "q4_x", "--memory", "24GiB")[1])

    def test_serving_says_what_would_fit(self):
        serve = ("plan", "smollm2-135m", "--serve", "plimsoll", "--json")
        problem, way_out = self.fails(3, *serve, "--memory", "280MiB")
        self.assertIn("not one user", problem)
        least = way_out.split()[1]
        self.assertEqual(json.loads(self.ok(*serve, "--memory", least))["most_users"], 1)
        self.assertIn("most_users", self.ok(*serve, "--memory", "auto"))


class Validate(ProgramTest):
    def test_rows_and_summary(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "rows.csv")
            summary = json.loads(self.ok("validate", os.path.join(GOLDEN, "measured", "torch_peak.csv"), "--out", path, "--json"))
            with open(path, encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        self.assertEqual(list(rows[0]), ["id", "quantity", "measured", "predicted", "low", "high", "used", "reason"])
        self.assertEqual(len(rows), 2 * 198)
        peak = next(s for s in summary["summaries"] if s["quantity"] == "peak_bytes" and s["source"] is None)
        self.assertEqual((peak["used"], peak["not_used"]), (198, 0))
        self.assertLess(peak["p95"], 0.001)

    def test_other_tables(self):
        self.fails(2, "validate", os.path.join(GOLDEN, "measured", "configs", "GPT-2.json"))
        self.fails(4, "validate", "/nonexistent.csv")


class Approaches(ProgramTest):
    def test_ways_side_by_side(self):
        answer = json.loads(self.ok("approaches", "llama-3.2-1b", "--devices", "h100-80g:1..8", "--json"))
        ways = {way["name"]: way for way in answer["approaches"]}
        self.assertEqual(list(ways), ["prompt only", "full", "LoRA", "QLoRA", "DPO", "GRPO", "PPO"])
        self.assertEqual([m["role"] for m in ways["PPO"]["models"]], ["policy", "reference", "reward", "value"])
        for way in ways.values():
            self.assertTrue(way["fits"], way)
            self.assertLessEqual(way["bytes_per_device"], answer["device_bytes"])
            self.assertAlmostEqual(sum(p["seconds"] for p in way["phases"]), way["step_seconds"] or 0)
        self.assertGreater(ways["PPO"]["usd_training"], ways["LoRA"]["usd_training"])

    def test_without_a_price_there_is_no_money(self):
        text = self.ok("approaches", "llama-3.2-1b", "--devices", "mi300x:8")
        self.assertIn("no price for this device is in the catalogue: --price USD", text)
        self.fails(2, "approaches", "llama-3.2-1b", "--devices", "mi300x:8", "--placement", "elsewhere")
        self.fails(2, "approaches", "llama-3.2-1b", "--devices", "a10g:8")  # no peak has a source


class HandOver(ProgramTest):
    def test_a_search_for_a_target_is_what_it_starts(self):
        with tempfile.TemporaryDirectory() as place:
            plan = os.path.join(place, "plan.json")
            for target in ("axolotl", "accelerate-fsdp", "torchtune", "megatron", "torchtitan", "deepspeed", "slurm"):
                with open(plan, "w", encoding="utf-8") as file:
                    file.write(self.ok("search", "llama-3.1-8b", "--devices", "h100-80g:8", "--quick", "--for", target, "--json"))
                self.assertGreater(len(self.ok("export", plan, "--to", target)), 100)
            self.fails(2, "search", "llama-3.1-8b", "--devices", "h100-80g:8", "--for", "word")
            self.fails(2, "export", plan, "--to", "unsloth")

    def test_what_a_file_cannot_say_is_told(self):
        with tempfile.TemporaryDirectory() as place:
            plan = os.path.join(place, "plan.json")
            with open(plan, "w", encoding="utf-8") as file:
                file.write(self.ok("search", "llama-3.1-8b", "--devices", "h100-80g:8", "--quick", "--for", "deepspeed", "--recompute", "full", "--tokens", "1e9", "--json"))
            done = run("export", plan, "--to", "deepspeed", "--out", "-", cwd=place)
            self.assertEqual(done.returncode, 0)
            self.assertIn(b"gradient_checkpointing=True", done.stderr)
            self.assertGreater(json.loads(done.stdout)["train_batch_size"], 0)
            self.assertEqual(os.listdir(place), ["plan.json"])
            self.assertRegex(self.ok("export", plan, "--to", "slurm"), r"\n#SBATCH --time=\d+:00:00\n")

    def test_the_engine_profile_has_the_last_word(self):
        found = json.loads(self.ok("search", "llama-3.1-8b", "--devices", "h100-80g:8", "--for", "megatron", "--json"))
        self.assertGreater(found["confirmed"], 0)
        self.assertLessEqual(found["least"]["engine_bytes_per_device"]["device_used"], found["device_bytes"])
        quick = json.loads(self.ok("search", "llama-3.1-8b", "--devices", "h100-80g:8", "--quick", "--json"))
        self.assertIsNone(quick["least"]["engine_bytes_per_device"])


class ServePlan(ProgramTest):
    def test_room_for_all_users(self):
        answer = json.loads(self.ok("serve-plan", "llama-3.3-70b", "--device", "h100-80g", "--users", "100", "--json"))
        self.assertGreater(answer["preemptions"], 0)  # two devices hold some of them
        self.assertTrue(answer["room_for_all"])
        for each in answer["room_for_all"]:
            self.assertLess(each["first_token_seconds"]["p95"], answer["first_token_seconds"]["p95"])


if __name__ == "__main__":
    unittest.main()
