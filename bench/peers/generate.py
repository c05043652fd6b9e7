"""llama.cpp's speed on a CPU, as one JSON line: generate.py FILE.gguf THREADS PROMPT_TOKENS NEW_TOKENS

The whole prompt at once, then one token after the other; which tokens they are makes no difference to the speed.
"""

import json
import resource
import sys
import time

from llama_cpp import Llama

path, threads, prompt, new = sys.argv[1], *map(int, sys.argv[2:])
model = Llama(path, n_ctx=prompt + new + 8, n_threads=threads, n_threads_batch=threads, n_batch=512, n_ubatch=512, verbose=False)
model.eval(list(range(100, 100 + prompt)))  # warm
model.reset()
start = time.perf_counter()
model.eval([1000 + i % 20000 for i in range(prompt)])
prefilled = time.perf_counter()
for token in range(new):
    model.eval([2000 + token])
print(json.dumps({"prefill_tokens_per_second": prompt / (prefilled - start),
                  "decode_tokens_per_second": new / (time.perf_counter() - prefilled),
                  "peak_resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
