"""For engines: the memory of a cube as a KV cache, fetched from the service instead of computed.

    from memos.encoders.kv_engines import build_engine
    from memos.kv import KVClient, generate

    engine = build_engine("smollm2", cache_dir=Path("models"))
    with KVClient("http://127.0.0.1:8000", key) as client:
        answer = generate(client, engine, "my-cube", "What did we agree on? ", max_new_tokens=40)
        print(answer.text, answer.way, answer.ttft_ms)

`generate` always answers: when anything about the stored cache is missing, late, damaged or not worth it, the engine
prefills the same tokens itself, and `answer.reason` says why. The steps it is made of (plan, lookup, fetch, restore,
report) can be called one by one.

Needs numpy, safetensors and zstandard, and whatever the engine needs; nothing of the service itself. `memos.kv.slots` does
the same for a llama.cpp server, by slot files.
"""

from memos.kv.client import KVClient
from memos.kv.generating import Answer, Way, generate, restore
from memos.kv.wire import ActivationPlan, ChunkRef, Lookup, Outcome, PlanItem

__all__ = [
    "ActivationPlan",
    "Answer",
    "ChunkRef",
    "KVClient",
    "Lookup",
    "Outcome",
    "PlanItem",
    "Way",
    "generate",
    "restore",
]
