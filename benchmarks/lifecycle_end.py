"""The end of the simulated year: what each cube still finds of what was used lately, and the tables of the year."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from benchmarks.lifecycle import BUDGET_DAYS, MONTH, Life, ask, forget_looking_back
from benchmarks.metrics import Latency, mean, percentile
from benchmarks.report import Report, figure, progress
from memos.rules.access import Principal
from memos.store import cubes, retention
from memos.wiring import App

WINDOW_DAYS = 90
TWICE = 2
ALL_ALONG = "recalled twice: off"


def publish(
    report: Report,
    app: App,
    who: Principal,
    lives: Sequence[Life],
    log: Sequence[tuple[int, int]],
    seed: str,
    end: datetime,
    *,
    per_day: int,
    most: int,
) -> None:
    """Ask everyone about what was used lately, and print the year."""
    sets = {f"recalled twice: {one.name}": recalled_twice(app, who, one, end) for one in lives}
    sets["asked about twice"] = asked_twice(log)
    scores = _scores(app, who, lives, sets, seed, end, most)
    for one in lives:
        forget_looking_back(app, who, one, end)
    alone = {f"{ALL_ALONG}, without a look into the archive": sets[ALL_ALONG]}
    scores |= _scores(app, who, lives, alone, seed, end, most)
    sets |= alone
    report.table(
        "A year",
        ("day", *(f"{what}, {one.name}" for what in ("live", "p95 ms", "found") for one in lives)),
        [_month(lives, place) for place in range(len(lives[0].months))],
    )
    report.table(
        f"Recall@10 at the end, of what was used twice in {WINDOW_DAYS} days",
        ("", "memories", *(one.name for one in lives)),
        [(by, str(len(sets[by])), *(figure(scores[by][one.name]) for one in lives)) for by in scores],
    )
    forgetful = [one for one in lives if one.forgets]
    acts = sorted({act for one in forgetful for act in one.acts})
    report.table(
        "Decay runs",
        ("", "runs", "p50 ms", "max ms", *acts),
        [
            (
                one.name, str(len(one.runs_ms)), figure(percentile(one.runs_ms, 50), 0),
                figure(max(one.runs_ms, default=0.0), 0), *(str(one.acts[act]) for act in acts),
            )
            for one in forgetful
        ],
    )  # fmt: skip
    report.figures |= {
        "months": {one.name: one.months for one in lives},
        "recall_at_10": scores,
        "used_twice": {by: len(targets) for by, targets in sets.items()},
        "questions_found": {one.name: mean([float(hit) for hit in one.found]) for one in lives},
        "decay_runs": {one.name: Latency.of(one.runs_ms) for one in forgetful},
        "acts": {one.name: dict(one.acts) for one in forgetful},
    }
    _goals(report, lives, scores, per_day)


def recalled_twice(app: App, who: Principal, one: Life, end: datetime) -> list[int]:
    """Numbers of the memories that this cube itself recalled at least twice in the window, in whatever answer."""
    numbers = {memory_id: number for number, memory_id in one.ids.items()}
    since = end - timedelta(days=WINDOW_DAYS)
    with app.database.transaction(who.tenant_id, read_only=True) as tx:
        standings = retention.standings(tx, cubes.view(tx, one.cube))
    twice = [s for s in standings if sum(since <= moment <= end for moment in s.recent) >= TWICE]
    return sorted(numbers[s.memory_id] for s in twice)


def asked_twice(log: Sequence[tuple[int, int]]) -> list[int]:
    """Numbers of the memories that somebody asked about at least twice in the window, found or not."""
    last = max((day for day, _ in log), default=0)
    counts = Counter(target for day, target in log if day > last - WINDOW_DAYS)
    return sorted(target for target, times in counts.items() if times >= TWICE)


def _scores(
    app: App,
    who: Principal,
    lives: Sequence[Life],
    sets: Mapping[str, Sequence[int]],
    seed: str,
    end: datetime,
    most: int,
) -> dict[str, dict[str, float]]:
    chosen = {by: targets[:: max(1, len(targets) // most)][:most] for by, targets in sets.items()}
    scores: dict[str, dict[str, float]] = {}
    with progress("Asking at the end", len(lives) * sum(map(len, chosen.values()))) as step:
        for by, targets in chosen.items():
            scores[by] = {}
            for one in lives:
                hits = []
                for target in targets:
                    hits.append(float(ask(app, who, one, target, seed, end)))
                    step()
                scores[by][one.name] = mean(hits)
    return scores


def _month(lives: Sequence[Life], place: int) -> tuple[str, ...]:
    months = [one.months[place] for one in lives]
    return (
        str(months[0]["day"]),
        *(str(month["live"]) for month in months),
        *(figure(month["p95_ms"], 1) for month in months),
        *(figure(month["found"]) for month in months),
    )


def _goals(report: Report, lives: Sequence[Life], scores: Mapping[str, Mapping[str, float]], per_day: int) -> None:
    default, budget, off = lives
    quarter = WINDOW_DAYS // MONTH
    if len(default.months) > 2 * quarter:
        grown = default.months[-1]["live"] - default.months[-1 - quarter]["live"]
        report.goal(
            "default: live memories grown in the last 90 days, of those written",
            grown / (WINDOW_DAYS * per_day),
            "<=",
            0.5,
        )
        middle = default.months[len(default.months) // 2]
        report.goal(
            "default: p95 of a search, end over mid-year", default.months[-1]["p95_ms"] / middle["p95_ms"], "<=", 1.5
        )
    report.goal("budget: live memories, of the budget", budget.months[-1]["live"] / (BUDGET_DAYS * per_day), "<=", 1.05)
    for one in (default, budget):
        own = scores[f"recalled twice: {one.name}"]
        name = f"{one.name}: recall@10 lost on what it recalled twice in {WINDOW_DAYS} days"
        report.goal(name, own[off.name] - own[one.name], "<=", 0.01)
    # The harder question: what was archived before anyone first asked for it is never recalled, and so missing above.
    all_along = scores[ALL_ALONG]
    name = "default: the same, on what the one that never forgets recalled"
    report.goal(name, all_along[off.name] - all_along[default.name], "<=", 0.01)
