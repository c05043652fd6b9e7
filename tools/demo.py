#!/usr/bin/env python3
"""The whole way once, on this machine: look at a model, plan its training inside a line of bytes, train it, and see what
it has learnt. Run by `./dev demo`.

usage: demo.py [--tiny] [--steps N] [--memory SIZE] [--plimsoll PROGRAM]
"""

import argparse
import json
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import fetch_demo

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 100


class Story:
    """What the two stories differ in."""

    def __init__(self, tiny):
        self.folder = Path("demo/tiny" if tiny else "demo")
        self.model = self.folder / ("model" if tiny else fetch_demo.MODEL)
        self.train, self.heldout = self.folder / "train.jsonl", self.folder / "heldout.jsonl"
        self.run, self.merged_gguf, self.merged_hf = (self.folder / name for name in ("run", "merged-q8_0.gguf", "merged"))
        self.memory = "256MiB" if tiny else "1GiB"
        self.steps = 200 if tiny else 120
        self.seq_len = 128 if tiny else 512
        self.rate = "1e-2" if tiny else "1e-3"
        self.question_about = "hard-coded password" if tiny else "CWE-311"  # held out: no training question is about it


def heading(number, text):
    title = f"── {number}. {text} "
    print(f"\n{title}{'─' * max(0, WIDTH - len(title))}", flush=True)


def command_text(arguments):
    """As one would type it: a long one over several lines, long values cut."""
    shown = [shlex.quote((a if len(a) <= 60 else a[:57].rstrip() + "…").replace("\n", " ")) for a in arguments]
    lines = ["$ plimsoll"]
    for argument, following in zip(shown, [*shown[1:], "--"]):
        takes_value = argument.startswith("--") and not following.startswith("--")
        if len(lines[-1]) + len(argument) + (len(following) + 1 if takes_value else 0) > WIDTH - 4:
            lines.append("   ")
        lines[-1] += " " + argument
    return " \\\n".join(lines)


class Program:
    """Runs plimsoll and shows each command as a user would type it."""

    def __init__(self, path):
        self.path = path

    def run(self, *arguments):
        """For people: its output goes to the terminal."""
        self._start(arguments, None)

    def json(self, *arguments, show=True):
        """For us: the JSON document that it prints; progress goes to the terminal."""
        return json.loads(self._start([*arguments, "--json"], subprocess.PIPE, show).stdout)

    def _start(self, arguments, stdout, show=True):
        arguments = [str(a) for a in arguments]
        if show:
            print(command_text(arguments), flush=True)
        done = subprocess.run([self.path, *arguments], stdout=stdout, text=True)
        if done.returncode != 0:
            sys.exit(done.returncode)
        return done


def chosen_question(story):
    """(question, answer): of the held-out rows about the story's subject, one that asks what it is."""
    rows = [json.loads(line)["messages"] for line in story.heldout.read_text(encoding="utf-8").splitlines()]
    about = [row for row in rows if story.question_about in row[0]["content"]]
    question, answer = min(about or rows, key=lambda row: not re.match("Explain|Describe|What is|What does .* mean", row[0]["content"]))
    return question["content"], answer["content"]


def show_answer(who, text):
    print(f"\n  {who}:")
    for line in (text.strip() or "(nothing)").splitlines():
        print(textwrap.fill(line, WIDTH - 4, initial_indent="    ", subsequent_indent="    "))


def ask(plimsoll, story, question, adapter):
    """The model's greedy answer, its chat template around the question."""
    messages = story.folder / "question.json"
    messages.write_text(json.dumps([{"role": "user", "content": question}]))
    prompt = plimsoll.json("render", story.model, "--messages", messages, "--generation-prompt", show=False)["text"]
    more = ["--adapter", adapter] if adapter else []
    return plimsoll.json("generate", story.model, *more, "--prompt", prompt, "--max-tokens", 120, "--temperature", 0)


def mib(count):
    return f"{count / 2**20:,.1f} MiB"


def minutes(seconds):
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def fetch(story, tiny):
    if tiny:
        print("--tiny: a small random model and a text of our own. It shows the way, not what a real model learns.")
        subprocess.run([sys.executable, "-B", ROOT / "tools/make_tiny_model.py", story.folder], check=True)
        return
    try:
        fetch_demo.fetch(story.folder)
    except fetch_demo.FetchError as error:
        print(f"./dev demo: error: {error}", file=sys.stderr)
        sys.exit(4)


def summary(rows):
    print()
    for name, value, note in rows:
        print(f"  {name:<28}{value:>16}   {note}".rstrip())


def tell(story, tiny, plimsoll, started):
    heading(1, "A model and a text")
    fetch(story, tiny)
    plimsoll.run("inspect", story.model)

    heading(2, f"Does it fit under {story.memory}?")
    recipe = ["--model", story.model, "--data", story.train, "--method", "lora", "--rank", 16, "--alpha", 32, "--targets", "all-linear",
              "--precision", "bf16", "--seq-len", story.seq_len, "--packing", "on", "--global-batch", 4, "--steps", story.steps,
              "--lr", story.rate, "--lr-schedule", "cosine", "--warmup-steps", 10,
              "--eval-data", story.heldout, "--eval-every", story.steps // 2, "--memory", story.memory]
    plimsoll.run("plan", story.model, *recipe[2:])
    plan = plimsoll.json("plan", story.model, *recipe[2:], show=False)

    heading(3, "Before: a question about a weakness that it will not be trained on")
    question, expected = chosen_question(story)
    show_answer("question", question)
    show_answer("what the text says", expected)
    print()
    before = ask(plimsoll, story, question, None)
    show_answer("the model, before", before["text"])
    print()
    eval_before = plimsoll.json("eval", story.model, "--data", story.heldout)
    print(f"  held-out loss {eval_before['loss']:.4f} over {eval_before['tokens']:,} tokens")

    heading(4, f"Training: {story.steps} steps of 4 × {story.seq_len} tokens, under the line")
    for old in (story.run, story.merged_hf):
        shutil.rmtree(old, ignore_errors=True)
    story.merged_gguf.unlink(missing_ok=True)
    training_started = time.monotonic()
    result = plimsoll.json("train", *recipe, "--out", story.run)
    training_seconds = time.monotonic() - training_started

    heading(5, "After: the same question, the same held-out text")
    adapter = story.run / "adapter"
    after = ask(plimsoll, story, question, adapter)
    show_answer("the model, after", after["text"])
    print()
    eval_after = plimsoll.json("eval", story.model, "--adapter", adapter, "--data", story.heldout)
    print(f"  held-out loss {eval_after['loss']:.4f} over {eval_after['tokens']:,} tokens")

    heading(6, "To take along: the merged model, as GGUF and as a Hugging Face folder")
    plimsoll.run("merge", story.model, "--adapter", adapter, "--out", story.merged_gguf, "--type", "q8_0")
    plimsoll.run("merge", story.model, "--adapter", adapter, "--out", story.merged_hf, "--type", "bf16")
    eval_merged = plimsoll.json("eval", story.merged_gguf, "--data", story.heldout)

    heading(7, "What was promised and what was used")
    line, planned, used = plan["budget_bytes"], result["planned_total_bytes"], result["peak_resident_bytes"]
    arena_difference = plan["arena_bytes"] - result["arena_bytes"]
    summary([
        ("the line", mib(line), ""),
        ("planned, the whole process", mib(planned), f"{planned / line:.1%} of the line"),
        ("used, the whole process", mib(used), f"{used / planned:.1%} of the plan"),
        ("arena planned", mib(plan["arena_bytes"]), ""),
        ("arena used", mib(result["arena_bytes"]), f"difference {arena_difference:,} bytes"),
        ("", "", ""),
        ("held-out loss before", f"{eval_before['loss']:.4f}", f"perplexity {eval_before['perplexity']:.1f}"),
        ("held-out loss after", f"{eval_after['loss']:.4f}", f"perplexity {eval_after['perplexity']:.1f}"),
        ("  merged, as q8_0", f"{eval_merged['loss']:.4f}", "read back from the GGUF"),
        ("", "", ""),
        ("training", f"{result['tokens_per_second']:,.0f} tokens/s", f"median of {result['steps']} steps, {minutes(training_seconds)} in all"),
        ("generating", f"{after['decode_tokens_per_second']:,.1f} tokens/s", ""),
        ("this demo", minutes(time.monotonic() - started), "without building"),
    ])
    print(f"\n  adapter  {adapter}/\n  GGUF     {story.merged_gguf}\n  folder   {story.merged_hf}/")
    print(f"  go on    build/plimsoll chat {story.model} --adapter {adapter}")
    broken = [text for holds, text in (
        (used <= planned, "the process used more than was planned"), (planned <= line, "the plan was above the line"),
        (arena_difference == 0, "the arena was not the planned one"),
        (eval_after["loss"] < eval_before["loss"], "the held-out loss did not fall")) if not holds]
    for text in broken:
        print(f"\n  NOT KEPT: {text}")
    return 1 if broken else 0


def main():
    parser = argparse.ArgumentParser(prog="./dev demo", description="Plans, trains, checks and uses a real model on this machine.")
    parser.add_argument("--tiny", action="store_true", help="a small random model and a text of our own: no download")
    parser.add_argument("--steps", type=int, help="training steps (120; with --tiny 200)")
    parser.add_argument("--memory", metavar="SIZE", help="the line (1GiB; with --tiny 256MiB)")
    parser.add_argument("--plimsoll", default=ROOT / "build/plimsoll", help="the program (build/plimsoll)")
    arguments = parser.parse_args()
    story = Story(arguments.tiny)
    story.steps = arguments.steps or story.steps
    story.memory = arguments.memory or story.memory
    sys.exit(tell(story, arguments.tiny, Program(arguments.plimsoll), time.monotonic()))


if __name__ == "__main__":
    main()
