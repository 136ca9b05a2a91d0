"""The branches of a cube as a picture: a lane for each, a dot for each revision, curves where they fork and merge."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from memos.services.views import RevisionView, TagView

_STEP, _LANE, _LEFT, _TOP = 34, 42, 24, 30
_RADIUS = 6


def draw(revisions: Sequence[RevisionView], tags: Sequence[TagView], *, address: str) -> Markup:
    """Of revisions in any order, the oldest on the left. `address` is that of the cube's page; dots lead to revisions."""
    shown = sorted(revisions, key=lambda revision: revision.revision)
    lanes: dict[str, int] = {}
    for revision in shown:
        lanes.setdefault(revision.branch, len(lanes))
    if "main" in lanes:  # on top, wherever the list begins
        lanes = {name: i for i, name in enumerate(sorted(lanes, key=lambda name: (name != "main", lanes[name])))}
    places = {r.revision: (_LEFT + i * _STEP, _TOP + lanes[r.branch] * _LANE) for i, r in enumerate(shown)}
    width = _LEFT * 2 + max(len(shown) - 1, 0) * _STEP + 110
    height = _TOP + len(lanes) * _LANE
    parts: list[Markup] = []
    for revision in shown:
        for parent, kind in ((revision.parent, "parent"), (revision.merged_from, "merged")):
            if parent in places:
                parts.append(_edge(places[parent], places[revision.revision], kind, _lane(lanes, revision, kind)))
            elif parent is not None and kind == "parent" and revision is shown[0]:
                x, y = places[revision.revision]
                parts.append(_edge((0, y), (x, y), kind, lanes[revision.branch]))
    parts += [_dot(r, places[r.revision], lanes[r.branch], address) for r in shown]
    parts += [_tag(tag, places[tag.revision]) for tag in tags if tag.revision in places]
    parts += [
        _name(name, lane, [places[r.revision] for r in shown if r.branch == name]) for name, lane in lanes.items()
    ]
    return Markup(
        '<svg class="history" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="group" aria-label="{2}">{3}</svg>'
    ).format(width, height, f"{len(shown)} revisions on {len(lanes)} branches", Markup("").join(parts))


def _lane(lanes: dict[str, int], revision: RevisionView, kind: str) -> int:
    return lanes[revision.branch] if kind == "parent" else len(lanes)


def _edge(start: tuple[float, float], end: tuple[float, float], kind: str, lane: int) -> Markup:
    (x1, y1), (x2, y2) = start, end
    if y1 == y2:
        path = f"M{x1} {y1} L{x2} {y2}"
    else:
        bend = min(x1 + _STEP, x2)
        path = f"M{x1} {y1} C{bend} {y1} {x1} {y2} {bend} {y2} L{x2} {y2}"
        if kind == "merged":
            bend = max(x2 - _STEP, x1)
            path = f"M{x1} {y1} L{bend} {y1} C{x2} {y1} {bend} {y2} {x2} {y2}"
    return Markup('<path class="edge {} lane-{}" d="{}"/>').format(kind, lane % 6, path)


def _dot(revision: RevisionView, at: tuple[float, float], lane: int, address: str) -> Markup:
    said = f"Revision {revision.revision} on {revision.branch}: {revision.reason or revision.kind}"
    return Markup(
        '<a href="{}#r{}" aria-label="{}"><circle class="dot lane-{}" cx="{}" cy="{}" r="{}"/>'
        '<title>{}</title><text class="number" x="{}" y="{}" text-anchor="middle">{}</text></a>'
    ).format(
        address, revision.revision, said, lane % 6, at[0], at[1], _RADIUS, said, at[0], at[1] + 20, revision.revision
    )


def _tag(tag: TagView, at: tuple[float, float]) -> Markup:
    return Markup('<text class="tag" x="{}" y="{}" text-anchor="middle">⚑ {}</text>').format(
        at[0], at[1] - 12, tag.name
    )


def _name(name: str, lane: int, places: Sequence[tuple[float, float]]) -> Markup:
    x, y = max(places)
    return Markup('<text class="branch lane-{}" x="{}" y="{}">{}</text>').format(
        lane % 6, x + 14, y + (4 if lane == 0 else 17), name
    )
