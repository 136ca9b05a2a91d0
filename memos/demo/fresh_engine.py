"""An engine in a process of its own: it has never seen the memory, answers once from the stored cache, once by prefill.

    python -m memos.demo.fresh_engine URL CUBE MODEL_DIR BUDGET_TOKENS PROMPT        (the key in MEMOS_KEY)

It gets ready while the cache is still being built, waits for a line on standard input, and prints one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memos.encoders.kv_engines import SMOLLM2, build_engine
from memos.kv import KVClient, generate
from memos.rules.kv_address import model_key

NEW_TOKENS = 24


def main(argv: Sequence[str]) -> int:
    url, cube, models, budget, prompt = argv
    began = time.perf_counter()
    engine = build_engine(SMOLLM2, cache_dir=Path(models))
    engine.generate(engine.restore(None), engine.tokenize("Ready").ids, 1)  # the first call of torch is slow
    loaded_s = time.perf_counter() - began
    # The first plan has the service load the model as well, which a busy machine takes its time for.
    with KVClient(url, os.environ["MEMOS_KEY"], timeout_s=120) as client:
        plan = client.plan(cube, model_key(engine.identity), budget_tokens=int(budget))
        sys.stdin.readline()
        answer = generate(client, engine, cube, prompt, max_new_tokens=NEW_TOKENS, plan=plan, obey_advice=False)
    prefix = plan.token_ids or engine.tokenize(plan.prefix_text).ids
    handle = engine.restore(None)
    began = time.perf_counter()
    first = engine.generate(handle, [*prefix, *engine.tokenize(prompt).ids], 1)
    prefill_ms = (time.perf_counter() - began) * 1e3
    prefilled = (*first, *engine.generate(handle, first, NEW_TOKENS - 1))
    said: dict[str, Any] = {
        "pid": os.getpid(),
        "loaded_s": loaded_s,
        "way": answer.way,
        "reason": answer.reason,
        "cached_tokens": answer.cached_tokens,
        "prompt_tokens": answer.prompt_tokens,
        "loaded_bytes": answer.loaded_bytes,
        "restore_ms": answer.ttft_ms,
        "prefill_ms": prefill_ms,
        "restored_text": answer.text,
        "prefilled_text": engine.detokenize(prefilled),
        "same": answer.token_ids == prefilled,
    }
    sys.stdout.write(json.dumps(said) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
