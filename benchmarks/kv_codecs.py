"""The activation tier: what codecs cost and keep, and what restoring saves, through the API and without it.

    codecs        bytes per token and fidelity of each codec against the same engine's own cache
    http          a real service: time to first token, exactness, serving and lookup over HTTP (kv_http)
    ttft          time to first token from files in this process, no service (not part of the default run)
    composition   why caches of separate texts are never glued together
    policy        prefill seconds saved by eviction and admission rules on a replayed trace

The model is SmolLM2-135M in float32 on one CPU thread. Every ratio is against *CPU prefill*, which is slow: it flatters
restoring and says nothing about a GPU. Texts come from the documentation that every Python carries (pydoc_data).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import kv_composition, kv_http, kv_policy, kv_ttft
from benchmarks.report import Report, figure, progress
from memos.encoders.kv_codecs import CODECS, encode_prefix
from memos.encoders.kv_gate import LIMITS, greedy_divergence, measure, windows_of
from memos.encoders.smollm2 import load_smollm2
from memos.encoders.transformers_engine import TransformersEngine
from memos.rules.kv_address import chain, model_key
from memos.rules.kv_layout import KVDtype, KVSpec

FP16_RATIO_GOALS = {"bf16": 1.4, "int8": 1.9, "int4": 3.8}
ANSWER_TOKENS = 64
ANSWERS = 2
"""Decoding is the slow part: each answer is made twice per codec."""
GEMMA_LAYERS = [None if layer % 6 == 5 else 512 for layer in range(18)]
"""Gemma-3-270M: 15 layers in windows of 512 and 3 full ones. Its layout only; the model is not needed here."""

Part = Callable[[Report, TransformersEngine, Sequence[int], argparse.Namespace], None]


def main(argv: Sequence[str]) -> int:
    arguments = _parser().parse_args(argv)
    report = Report("kv", settings=dict(vars(arguments)), out_dir=arguments.out)
    report.note("CPU prefill, one thread: ratios against it flatter restoring; do not compare with GPU figures")
    engine = load_smollm2(arguments.models)
    token_ids = engine.tokenize(_text(arguments)).ids
    for part in arguments.parts:
        PARTS[part](report, engine, token_ids, arguments)
    report.finish()
    return 0


def codecs(report: Report, engine: TransformersEngine, token_ids: Sequence[int], arguments: argparse.Namespace) -> None:
    """Size and fidelity per codec and context length; then the sliding-window trim."""
    rows = []
    for n_context in arguments.contexts:
        windows = windows_of(token_ids, n_context=n_context, count=arguments.windows)
        ratios = _ratios(engine, windows[0].context)
        with progress(f"fidelity after {n_context} tokens", len(windows)) as step:
            parts = []
            for window in windows:
                parts.append(measure(engine, list(CODECS), [window]))
                step()
        for codec in CODECS:
            figures = _mean([part[codec].as_json() for part in parts])
            report.figures[f"codec.{codec}.{n_context}"] = {**figures, **ratios[codec]}
            rows.append(
                [
                    f"{codec} @ {n_context}",
                    f"{ratios[codec]['bytes_per_token']:.0f}",
                    f"{ratios[codec]['ratio_to_fp16']:.2f}",
                    f"{figures['max_dlogit']:.3g}",
                    f"{figures['top1']:.4f}",
                    f"{figures['kl']:.2g}",
                    f"{figures['delta_nll']:+.2g}",
                ]
            )
            _fidelity_goals(report, codec, n_context, figures, ratios[codec]["ratio_to_fp16"])
    columns = ("codec @ context", "bytes/token", "x smaller than fp16", "max dlogit", "top-1", "KL", "dNLL")
    report.table(f"Codecs, {arguments.windows} windows x 191 tokens each", columns, rows)
    _divergence(report, engine, token_ids, arguments)
    _trim(report)


def _ratios(engine: TransformersEngine, context: Sequence[int]) -> dict[str, dict[str, float]]:
    spec, model = engine.identity.spec, model_key(engine.identity)
    state, chunks = engine.build(context), chain(bytes(32), context)
    fp16 = spec.bytes_per_token * len(context) * 2 // spec.dtype.itemsize
    ratios = {}
    for codec in CODECS:
        stored = sum(len(blob.data) for blob in encode_prefix(state, chunks, spec, model=model, codec=codec))
        ratios[codec] = {"bytes_per_token": stored / len(context), "ratio_to_fp16": fp16 / stored}
    return ratios


def _mean(figures: Sequence[dict[str, float | int]]) -> dict[str, float]:
    """Windows are of equal length, so the mean over tokens is the mean over windows."""
    mean = {name: sum(part[name] for part in figures) / len(figures) for name in ("kl", "top1", "delta_nll")}
    return {
        **mean,
        "max_dlogit": max(part["max_dlogit"] for part in figures),
        "tokens": sum(part["tokens"] for part in figures),
    }


def _fidelity_goals(report: Report, codec: str, n_context: int, figures: dict[str, float], ratio: float) -> None:
    at = f"{codec} @ {n_context}"
    if codec == "raw":
        report.goal(f"{at}: max dlogit", figures["max_dlogit"], "<=", 0.0)
        return
    limits = LIMITS[codec]
    report.goal(f"{at}: KL", figures["kl"], "<=", limits.kl_max)
    report.goal(f"{at}: top-1", figures["top1"], ">=", limits.top1_min)
    if limits.delta_nll_max is not None:
        report.goal(f"{at}: |dNLL|", abs(figures["delta_nll"]), "<=", limits.delta_nll_max)
    report.goal(f"{at}: x smaller than fp16", ratio, ">=", FP16_RATIO_GOALS[codec])


def _divergence(
    report: Report, engine: TransformersEngine, token_ids: Sequence[int], arguments: argparse.Namespace
) -> None:
    """Where a greedy answer first leaves the exact one: errors add up over an answer."""
    n_context = arguments.contexts[0]
    windows = windows_of(token_ids, n_context=n_context, n_predicted=31, count=ANSWERS)
    rows = []
    for codec in ("bf16", "int8", "int4"):
        at = [greedy_divergence(engine, w, codec, max_new_tokens=ANSWER_TOKENS) for w in windows]
        report.figures[f"divergence.{codec}.{n_context}"] = at
        rows.append([codec, ", ".join("never" if place is None else str(place) for place in at)])
    title = f"First differing token of greedy answers of {ANSWER_TOKENS} tokens, {ANSWERS} windows @ {n_context}"
    report.table(title, ("codec", "token"), rows)


def _trim(report: Report) -> None:
    spec = KVSpec.of_layers(GEMMA_LAYERS, kv_heads=1, head_dim=256, dtype=KVDtype.F16)
    rows = []
    for n_tokens in (256, 1024, 2048, 4096):
        factor = n_tokens * spec.bytes_per_token / spec.restore_bytes(n_tokens)
        report.figures[f"trim.{n_tokens}"] = factor
        rows.append([str(n_tokens), figure(factor, 2)])
    report.table("Sliding-window trim of Gemma-3-270M's layout, computed", ("tokens", "x fewer bytes"), rows)


def ttft(report: Report, engine: TransformersEngine, token_ids: Sequence[int], arguments: argparse.Namespace) -> None:
    kv_ttft.run(report, engine, token_ids, lengths=arguments.lengths, rounds=arguments.rounds)


def composition(
    report: Report, engine: TransformersEngine, _token_ids: Sequence[int], _arguments: argparse.Namespace
) -> None:
    kv_composition.run(report, engine)


def policy(
    report: Report, engine: TransformersEngine, _token_ids: Sequence[int], arguments: argparse.Namespace
) -> None:
    kv_policy.run(report, engine, locomo=arguments.locomo)


def http(report: Report, engine: TransformersEngine, _token_ids: Sequence[int], arguments: argparse.Namespace) -> None:
    kv_http.run(report, engine, _text(arguments), arguments)


PARTS: dict[str, Part] = {"codecs": codecs, "http": http, "composition": composition, "policy": policy, "ttft": ttft}
DEFAULT_PARTS = [name for name in PARTS if name != "ttft"]


def _text(arguments: argparse.Namespace) -> str:
    return arguments.text.read_text(encoding="utf-8") if arguments.text else _documentation()


def _documentation() -> str:
    """The language reference as plain text: 700 kB that lie beside every Python."""
    import pydoc_data.topics

    topics: dict[str, Any] = pydoc_data.topics.topics
    return "\n".join(str(topics[name]) for name in sorted(topics))[:400_000]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="memos eval kv",
        description=(__doc__ or "").split("\n\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    models = Path.home() / ".cache" / "memos" / "models"
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), metavar="DIR")
    parser.add_argument("--models", type=Path, default=models, metavar="DIR", help="where SmolLM2 is converted to")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=DEFAULT_PARTS)
    parser.add_argument("--contexts", nargs="+", type=int, default=[256, 1024], metavar="TOKENS")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--lengths", nargs="+", type=int, default=[256, 1024, 4096], metavar="TOKENS")
    parser.add_argument("--rounds", type=int, default=3, help="of each time to first token; the median counts")
    parser.add_argument("--blobs", choices=("filesystem", "postgres"), default="filesystem", help="where chunks lie")
    parser.add_argument("--text", type=Path, help="a UTF-8 text instead of Python's documentation")
    parser.add_argument("--locomo", type=Path, help="a LoCoMo file, to replay its questions as a trace")
    return parser
