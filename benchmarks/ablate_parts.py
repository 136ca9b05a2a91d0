"""What each part of the ranking is worth: answers that explain themselves, summed up again without it.

With `explain` the service says what every part added to a result's score. Leaving a part out of the sum and sorting again
shows what it decides, for one replay and one round of questions. Weights are not learned anew without it, and it still
helped to choose the candidates, so a gain told here is what the ranking loses at once, not what the part is worth to a
ranking that never knew it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.client import Hit, MemosClient
from benchmarks.credit import ranked_turns
from benchmarks.locomo import Answer, scores
from benchmarks.locomo_replay import Replayed
from benchmarks.report import Report, figure, progress

DEEP = 200
"""Results asked for, the most a service gives by default: what is sorted again."""
PARTS: Mapping[str, frozenset[str]] = {
    "dense: meaning": frozenset({"dense", "dense_share", "dense_before", "dense_after"}),
    "lexical: words": frozenset({"lexical", "context_lexical", "context_coverage"}),
    "smoothing: the turns around": frozenset({"dense_before", "dense_after", "context_lexical", "context_coverage"}),
    "session prior": frozenset({"session"}),
    "speaker": frozenset({"speaker"}),
    "shape: length, questions, openings": frozenset({"length", "asks", "answers", "opens"}),
    "standing: superseded, weak, untrusted": frozenset({"standing"}),
    "second look: words of the best hits": frozenset({"feedback"}),
    "graph walk": frozenset({"graph"}),
}
_RAW = "cosine"
"""A similarity told beside the parts, not one of them."""
MEASURES = ("R@5", "R@10", "any@10", "MRR")


def ask_parts(
    client: MemosClient, done: Sequence[Replayed], *, sources: bool, extra: Mapping[str, Any]
) -> dict[str, list[Answer]]:
    """The questions once; by part the answers without it, and under "everything" those with all of them.

    Parts that no result named are left out. Empty where the service does not explain.
    """
    asked: list[tuple[Replayed, int, tuple[Hit, ...]]] = []
    with progress("Asking for reasons", sum(len(one.conversation.questions) for one in done)) as step:
        for one in done:
            now = one.conversation.asked_at.isoformat()
            for place, question in enumerate(one.conversation.questions):
                options = {"now": now, **extra, "limit": DEEP, "explain": True}
                asked.append((one, place, client.search(one.cube, question.text, **options).hits))
                step()
    named = {part for _, _, hits in asked for hit in hits for part in hit.why or {}}
    if not named:
        return {}
    without: dict[str, frozenset[str]] = {"everything": frozenset()}
    without |= {name: parts for name, parts in PARTS.items() if parts & named}
    return {
        name: [_answer(one, place, resorted(hits, parts), sources=sources) for one, place, hits in asked]
        for name, parts in without.items()
    }


def resorted(hits: Sequence[Hit], without: frozenset[str]) -> list[Hit]:
    """Best first by the sum of what the other parts added; ties keep their order."""
    left_out = without | {_RAW}
    return sorted(hits, key=lambda hit: -sum(value for name, value in (hit.why or {}).items() if name not in left_out))


def publish_parts(report: Report, answers: Mapping[str, Sequence[Answer]]) -> None:
    """One row a part: the figures without it, and what it gains."""
    if not answers:
        report.note("the service explained nothing, so its parts could not be told apart.")
        return
    figures = {name: scores(given) for name, given in answers.items()}
    full = figures["everything"]
    rows = [
        (
            name if name == "everything" else f"without {name}",
            *(figure(found[measure]) for measure in MEASURES),
            f"{100 * (full['R@10'] - found['R@10']):+.1f}",
            f"{100 * (full['MRR'] - found['MRR']):+.1f}",
        )
        for name, found in figures.items()
    ]
    report.table("What each part gains", ("", *MEASURES, "gain R@10, points", "gain MRR, points"), rows)
    report.note("parts are left out of the sum of one answer and not learned anew; all come from one statement and one "
                "pass, so their milliseconds are those of the rows above (budgets, second look).")  # fmt: skip
    report.figures["parts"] = figures


def _answer(one: Replayed, place: int, hits: Sequence[Hit], *, sources: bool) -> Answer:
    question = one.conversation.questions[place]
    return Answer(
        sample_id=one.conversation.sample_id,
        number=question.number,
        category=question.category,
        label_error=question.label_error,
        evidence=question.evidence,
        ranked=tuple(ranked_turns(hits, one.turns, sources=sources)),
        tokens_at_10=0,
        tokens=0,
        elapsed_ms=0.0,
    )
