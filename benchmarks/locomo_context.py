"""Evidence inside a token budget on LoCoMo-format conversations, through HTTP.

Every question of categories 1-4 asks for a context of 1,000 tokens. An evidence turn counts when the context
holds an item of it; beside that stands the stricter figure, where the item has to hold the whole turn and not
an excerpt. A derived memory (a fact, an episode) earns nothing here, whatever it cites. Size is compared with
the whole conversation by one rule for both (four characters to a token); the service's own count of tokens
stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.client import ContextReply, MemosClient
from benchmarks.locomo_data import CATEGORIES, Question, load, transcript
from benchmarks.locomo_replay import Replayed, replayed
from benchmarks.metrics import Latency, approximate_tokens, mean
from benchmarks.options import add_search_options, parser, service_of, settings_of
from benchmarks.report import Report, figure, progress

COLUMNS = ("questions", "evidence recall", "whole turns only", "all evidence in")


@dataclass(frozen=True, slots=True)
class Packed:
    """One asked question; `whole` is the part of `found` that is in the context unshortened."""

    sample_id: str
    number: int
    category: int
    label_error: str | None
    evidence: frozenset[str]
    found: frozenset[str]
    whole: frozenset[str]
    tokens: int
    share: float
    items: int
    dropped: int
    elapsed_ms: float


def main(argv: Sequence[str]) -> int:
    made = parser("context", __doc__)
    made.add_argument("--data", type=Path, required=True, metavar="FILE")
    made.add_argument("--budget-tokens", type=int, default=1000, metavar="N")
    made.add_argument("--no-captions", action="store_true", help="leave photo captions out of the text")
    add_search_options(made)
    arguments = made.parse_args(argv)
    conversations = load(arguments.data, captions=not arguments.no_captions)
    report = Report("context", settings=settings_of(arguments), out_dir=arguments.out)
    with service_of(arguments) as service, MemosClient(service.url, service.key) as client:
        report.settings["service"] = service.description
        cubes = replayed(client, conversations, report, policy=arguments.policy, jobs_timeout_s=arguments.jobs_timeout)
        with cubes as done:
            packed = pack_all(client, done, budget_tokens=arguments.budget_tokens, extra=arguments.search)
    publish(report, packed, budget_tokens=arguments.budget_tokens)
    report.finish()
    return 0


def pack_all(
    client: MemosClient, done: Sequence[Replayed], *, budget_tokens: int, extra: dict[str, Any]
) -> list[Packed]:
    packed = []
    with progress("Packing contexts", sum(len(one.conversation.questions) for one in done)) as step:
        for one in done:
            whole_tokens = approximate_tokens(transcript(one.conversation))
            texts = {turn.turn_id: turn.content for turn in one.conversation.turns}
            options = {"budget_tokens": budget_tokens, "now": one.conversation.asked_at.isoformat(), **extra}
            for question in one.conversation.questions:
                reply = client.context(one.cube, question.text, **options)
                packed.append(_judge(one, question, reply, texts, whole_tokens))
                step()
    return packed


def _judge(
    one: Replayed, question: Question, reply: ContextReply, texts: Mapping[str, str], whole_tokens: int
) -> Packed:
    excerpts = {one.turns[memory]: excerpt for memory, excerpt in reply.excerpts if memory in one.turns}
    whole = {turn for turn, excerpt in excerpts.items() if _squeezed(texts[turn]) in _squeezed(excerpt)}
    return Packed(
        sample_id=one.conversation.sample_id,
        number=question.number,
        category=question.category,
        label_error=question.label_error,
        evidence=question.evidence,
        found=question.evidence & excerpts.keys(),
        whole=question.evidence & whole,
        tokens=reply.tokens,
        share=approximate_tokens(reply.text) / whole_tokens,
        items=len(reply.excerpts),
        dropped=reply.dropped,
        elapsed_ms=reply.elapsed_ms,
    )


def scores(packed: Sequence[Packed]) -> dict[str, float]:
    """The means over some questions, under the names of COLUMNS."""
    return {
        "questions": len(packed),
        "evidence recall": mean([len(one.found) / len(one.evidence) for one in packed]),
        "whole turns only": mean([len(one.whole) / len(one.evidence) for one in packed]),
        "all evidence in": mean([float(one.found == one.evidence) for one in packed]),
    }


def by_category(packed: Sequence[Packed]) -> dict[str, dict[str, float]]:
    groups = {
        f"{category} {name}": scores([one for one in packed if one.category == category])
        for category, name in CATEGORIES.items()
    }
    return {**groups, "overall": scores(packed)}


def publish(report: Report, packed: Sequence[Packed], *, budget_tokens: int) -> None:
    """Tables, figures, goals and raw rows of one set of contexts."""
    quality = {"all questions": by_category(packed)}
    sound = [one for one in packed if one.label_error is None]
    if len(sound) < len(packed):
        quality["without known label errors"] = by_category(sound)
        report.note(f"{len(packed) - len(sound)} of {len(packed)} questions carry a known label error.")
    for title, groups in quality.items():
        rows = [
            (name, f"{group['questions']:.0f}", *(figure(group[column]) for column in COLUMNS[1:]))
            for name, group in groups.items()
        ]
        report.table(f"LoCoMo evidence in a context of {budget_tokens} tokens, {title}", ("category", *COLUMNS), rows)
    latency = Latency.of([one.elapsed_ms for one in packed])
    cost = {
        "tokens": mean([one.tokens for one in packed]),
        "max_tokens": max((one.tokens for one in packed), default=0),
        "share_of_conversation": mean([one.share for one in packed]),
        "items": mean([one.items for one in packed]),
    }
    report.figures |= {"quality": quality, "context_latency": latency, **cost}
    report.table(
        "Cost of a context",
        ("tokens (mean)", "tokens (most)", "share of the conversation", "items", "p50", "p95", "p99"),
        [
            (
                f"{cost['tokens']:.0f}",
                f"{cost['max_tokens']}",
                f"{cost['share_of_conversation']:.2%}",
                f"{cost['items']:.1f}",
                f"{latency.p50_ms:.1f} ms",
                f"{latency.p95_ms:.1f} ms",
                f"{latency.p99_ms:.1f} ms",
            )
        ],
    )
    # Goals of issue 4, set on the dev split with 1,000 tokens.
    report.goal("evidence recall", quality["all questions"]["overall"]["evidence recall"], ">=", 0.75)
    report.goal("share of the conversation", cost["share_of_conversation"], "<=", 0.06)
    report.goal("most tokens in a context", cost["max_tokens"], "<=", budget_tokens)
    report.raw = [_raw(one) for one in packed]


def _raw(one: Packed) -> dict[str, Any]:
    return {
        "sample_id": one.sample_id,
        "question": one.number,
        "category": one.category,
        "label_error": one.label_error,
        "evidence": sorted(one.evidence),
        "found": sorted(one.found),
        "whole": sorted(one.whole),
        "tokens": one.tokens,
        "items": one.items,
        "dropped": one.dropped,
        "elapsed_ms": round(one.elapsed_ms, 3),
    }


def _squeezed(text: str) -> str:
    """Without regard to white space, which packing may change."""
    return " ".join(text.split())
