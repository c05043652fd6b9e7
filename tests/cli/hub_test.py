"""Models by hub id and by name, as a user meets them. A small hub in this process stands for the real one."""

import hashlib
import http.server
import json
import os
import shutil
import tempfile
import threading
import unittest

from program import GOLDEN, ProgramTest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.ThreadingHTTPServer):
    """Serves the files of `folder` as org/name; `cut` ends every answer after so many bytes, None: never."""

    def __init__(self, folder):
        self.folder, self.cut, self.requests = folder, None, []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def entry(self, name):
        content = self.content(name)
        entry = {"rfilename": name, "size": len(content), "blobId": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()}
        if name.endswith((".safetensors", ".gguf")):
            entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        return entry

    def content(self, name):
        with open(os.path.join(self.folder, name), "rb") as file:
            return file.read()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        hub, name, status = self.server, self.path.rsplit("/", 1)[1], 200
        hub.requests.append(self.path)
        if self.path == "/api/models/org/name/revision/main?blobs=true":
            files = sorted(os.listdir(hub.folder))
            content = json.dumps({"sha": COMMIT, "siblings": [hub.entry(file) for file in files]}).encode()
        elif self.path == f"/org/name/resolve/{COMMIT}/{name}":
            content = hub.content(name)
        else:
            content, status = b"", 404
        begin = 0
        if "Range" in self.headers:
            begin, status = int(self.headers["Range"].removeprefix("bytes=").split("-")[0]), 206
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        cut = hub.cut is not None and name.endswith(".safetensors")
        self.wfile.write(content[begin : begin + hub.cut] if cut else content[begin:])
        self.close_connection = self.close_connection or cut


class FromTheHub(ProgramTest):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.repo = os.path.join(self.folder, "repo")
        os.mkdir(self.repo)
        for name in ("config.json", "model.safetensors"):
            shutil.copyfile(os.path.join(GOLDEN, "models", "llama", name), os.path.join(self.repo, name))
        shutil.copyfile(os.path.join(GOLDEN, "tokenizer", "llama2_spm", "tokenizer.json"), os.path.join(self.repo, "tokenizer.json"))
        self.hub = Hub(self.repo)
        self.addCleanup(self.hub.server_close)
        self.addCleanup(self.hub.shutdown)
        keep = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "http_proxy", "HTTP_PROXY"))}
        self.environment = {**keep, "HF_HOME": os.path.join(self.folder, "home"), "HF_ENDPOINT": f"http://127.0.0.1:{self.hub.server_port}"}
        self.options = {"env": self.environment}
        self.snapshot = os.path.join(self.folder, "home", "hub", "models--org--name", "snapshots", COMMIT)

    def probe(self, model, **options):
        batch = os.path.join(GOLDEN, "models", "llama", "batch.safetensors")
        return self.ok("probe", model, "--batch", batch, "--out", os.path.join(self.folder, "out.safetensors"), "--json", **options)

    def test_fetches_what_a_command_needs_and_then_asks_nobody(self):
        self.assertIn('"fits": true', self.ok("plan", "org/name", "--seq-len", "64", "--memory", "1GiB", "--json", **self.options))
        self.assertEqual(os.listdir(self.snapshot), ["config.json"])
        document = json.loads(self.ok("inspect", "org/name", "--json", **self.options))
        self.assertEqual(document["params"]["total"], 57072)
        self.assertIsNotNone(document["tokenizer"])
        self.assertNotIn("model.safetensors", os.listdir(self.snapshot))
        self.probe("org/name", **self.options)
        self.assertEqual(sorted(os.listdir(self.snapshot)), ["config.json", "model.safetensors", "tokenizer.json"])
        self.hub.requests.clear()
        self.probe("org/name", **self.options)
        self.probe(f"org/name@{COMMIT}", **self.options)
        self.assertEqual(self.hub.requests, [])

    def test_offline(self):
        for arguments, environment in ((["--offline"], {}), ([], {"HF_HUB_OFFLINE": "1"})):
            error, way_out = self.fails(2, "inspect", "org/name", *arguments, env={**self.environment, **environment})
            self.assertIn("nothing is fetched when offline", error)
            self.assertIn("--offline", way_out)
        self.assertEqual(self.hub.requests, [])
        self.ok("plan", "org/name", "--seq-len", "64", **self.options)
        self.ok("inspect", "org/name", "--offline", **self.options)  # without the tokenizer, which is not here

    def test_a_lost_connection_says_how_far_it_came(self):
        self.hub.cut = 1000
        arguments = ("probe", "org/name", "--batch", "x", "--out", "y", "--quiet")
        error, way_out = self.fails(4, *arguments, **self.options)
        self.assertIn("model.safetensors did not arrive whole", error)
        self.assertRegex(way_out, r"^run again: it goes on from [0-9],000 bytes$")
        self.assertFalse(os.path.exists(os.path.join(self.snapshot, "model.safetensors")))
        self.hub.cut = None
        self.probe("org/name", **self.options)

    def test_errors(self):
        self.assertIn("does not have it", self.fails(2, "inspect", "org/other", **self.options)[0])
        self.environment["HF_ENDPOINT"] = "ftp://example.org"
        self.assertIn("no http or https address", self.fails(2, "inspect", "org/name", **self.options)[0])
        self.environment["HF_ENDPOINT"] = f"http://127.0.0.1:{self.hub.server_port}"
        os.rename(os.path.join(self.repo, "model.safetensors"), os.path.join(self.repo, "a.gguf"))
        os.remove(os.path.join(self.repo, "config.json"))
        error, way_out = self.fails(2, "inspect", "org/name", **self.options)
        self.assertIn("a.gguf (", error)
        self.assertEqual(way_out, "choose one, org/name:a.gguf")
        self.assertIn("GGUF", self.fails(2, "inspect", "org/name:a.gguf", "--quiet", **self.options)[0])


class FromTheCatalogue(ProgramTest):
    def test_names(self):
        self.assertEqual(json.loads(self.ok("inspect", "llama-3.1-405b", "--json"))["params"]["total"], 405853388800)
        self.assertIn("1,235,814,400 parameters", self.ok("plan", "Llama3.2-1B"))
        self.assertIn("did you mean llama-3.1-405b", self.fails(2, "inspect", "lama-3.1-405b")[1])
        self.assertIn("--list", self.fails(2, "inspect", "zzzzzzzz")[1])
        self.assertIn("--list", self.fails(2, "inspect")[1])
        self.assertIn("no files", self.fails(2, "generate", "llama-3.2-1b", "--prompt", "x")[0])
        self.assertIn("no files", self.fails(2, "tokenize", "llama-3.2-1b", "--text", "x")[0])

    def test_list(self):
        text = self.ok("inspect", "--list")
        self.assertIn("opt-350m", text)
        rows = json.loads(self.ok("inspect", "--list", "--json"))
        self.assertEqual(len(rows["models"]), 90)
        row = next(row for row in rows["models"] if row["name"] == "llama-3.1-405b")
        self.assertEqual((row["architecture"], row["total"]), ("llama", 405853388800))


if __name__ == "__main__":
    unittest.main()
