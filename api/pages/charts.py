"""Charts as SVG, drawn on the server: no script, and sharp at every size. Colours come from the style sheet.

Each has a sentence that says the same in words, for whoever does not see it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from markupsafe import Markup

WIDTH, HEIGHT = 560, 190
MOST_CHANNELS = 6
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 8, 10, 24


def bars(amounts: Mapping[str, int], *, prefix: str, order: Sequence[str] = ()) -> Markup:
    """Named amounts, one bar each, as a table a style sheet makes into bars. `prefix` begins the classes of the bars."""
    names = [name for name in order if name in amounts] + [name for name in amounts if name not in order]
    most = max(amounts.values(), default=0) or 1
    rows = [
        Markup(
            '<tr><th scope="row">{}</th><td class="bar"><svg viewBox="0 0 100 10" preserveAspectRatio="none" '
            'aria-hidden="true"><rect class="{}" width="{:.2f}" height="10" rx="1"/></svg></td><td class="figure">{}</td></tr>'
        ).format(name, f"fill {prefix}-{name}", max(0.6, 100 * amounts[name] / most), f"{amounts[name]:,}")
        for name in names
    ]
    return Markup('<table class="bars"><tbody>{}</tbody></table>').format(Markup("").join(rows))


def meter(used: float, most: float, words: str) -> Markup:
    """How much of a limit is used, as a bar; from nine tenths on it warns. `words` say the same."""
    share = min(1.0, used / most) if most else 1.0
    return Markup(
        '<svg class="meter{}" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<rect class="room" width="100" height="8"/><rect class="fill" width="{:.2f}" height="8"/></svg>'
    ).format(" full" if share >= 0.9 else "", words, 100 * share)


def histogram(counts: Sequence[int], *, title: str) -> Markup:
    """Tenths from weakest to strongest."""
    most = max(counts, default=0) or 1
    top = _nice(most)
    step = (WIDTH - _LEFT - _RIGHT) / len(counts)
    parts = [_grid(top, "{:,.0f}")]
    for place, count in enumerate(counts):
        height = _plot() * count / top
        parts.append(
            Markup(
                '<rect class="fill strength-{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="2"/>'
            ).format(place, _LEFT + place * step + 3, _TOP + _plot() - height, step - 6, height)
        )
    parts += [
        _under(_LEFT + place * step, f"{place / len(counts):.1f}", _anchor(place, len(counts)))
        for place in range(0, len(counts) + 1, 2)
    ]
    total = sum(counts)
    strong = sum(counts[len(counts) // 2 :])
    words = f"{title}: of {total:,}, {strong:,} are above one half."
    return _svg(words, parts)


def lines(
    series: Sequence[tuple[str, Sequence[float | None]]], moments: Sequence[datetime], *, title: str, unit: str
) -> Markup:
    """Values over time, a line each; a gap where there is none. The first series is drawn strongest."""
    values = [value for _, held in series for value in held if value is not None]
    top = _nice(max(values, default=0) or 1)
    parts = [_grid(top, "{:,.0f}" if top >= 5 else "{:,.1f}")]
    labels: list[float] = []
    for place, (name, held) in enumerate(series):
        points = [
            (_x(i, len(held)), _TOP + _plot() * (1 - value / top)) for i, value in enumerate(held) if value is not None
        ]
        path = " ".join(f"{'M' if not i else 'L'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(points))
        parts.append(Markup('<path class="line series-{}" d="{}"/>').format(place, path))
        parts += [
            Markup('<circle class="dot series-{}" cx="{:.1f}" cy="{:.1f}" r="2.5"/>').format(place, x, y)
            for x, y in points
        ]
        if points:
            x, y = points[-1][0] - 6, max(_TOP + 10, points[-1][1] - 6)
            # Two lines that end at one height still have two names.
            while any(abs(y - other) < 12 for other in labels):
                y += 12
            labels.append(y)
            parts.append(
                Markup('<text class="axis" x="{:.1f}" y="{:.1f}" text-anchor="end">{}</text>').format(x, y, name)
            )
    parts += _hours(moments)
    said = ", ".join(f"{name} {_last(held)}" for name, held in series)
    return _svg(f"{title}, in {unit}. Last: {said}.", parts)


def area(levels: Sequence[int], moments: Sequence[datetime], *, title: str) -> Markup:
    """A level over time."""
    top = _nice(max(levels, default=0) or 1)
    points = [(_x(i, len(levels)), _TOP + _plot() * (1 - level / top)) for i, level in enumerate(levels)]
    line = " ".join(f"{'M' if not i else 'L'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(points))
    base = _TOP + _plot()
    parts = [_grid(top, "{:,.0f}")]
    if points:
        closed = f"{line} L{points[-1][0]:.1f} {base} L{points[0][0]:.1f} {base} Z"
        parts += [
            Markup('<path class="area" d="{}"/>').format(closed),
            Markup('<path class="line series-0" d="{}"/>').format(line),
        ]
    parts += _hours(moments)
    last = levels[-1] if levels else 0
    return _svg(f"{title}: at most {max(levels, default=0):,}, now {last:,}.", parts)


def forgetting(
    curve: Sequence[tuple[datetime, float]],
    begin: datetime,
    now: datetime,
    recalls: Sequence[datetime],
    *,
    title: str,
    threshold: float,
) -> Markup:
    """Strength over time, from `begin` on: solid until now and dashed after, with a mark for each recall."""
    end = curve[-1][0]
    span = max((end - begin).total_seconds(), 1.0)

    def place(moment: datetime) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (moment - begin).total_seconds() / span

    def path(points: Sequence[tuple[datetime, float]]) -> str:
        return " ".join(
            f"{'M' if not i else 'L'}{place(at):.1f} {_TOP + _plot() * (1 - value):.1f}"
            for i, (at, value) in enumerate(points)
        )

    past = [point for point in curve if point[0] <= now]
    future = [*past[-1:], *(point for point in curve if point[0] > now)]
    edge = _TOP + _plot() * (1 - threshold)
    parts = [
        _grid(1.0, "{:.1f}"),
        Markup('<line class="threshold" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
            _LEFT, WIDTH - _RIGHT, edge, edge
        ),
        Markup('<path class="line series-0" d="{}"/>').format(path(past)),
        Markup('<path class="line series-0 later" d="{}"/>').format(path(future)),
        Markup('<line class="now" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>').format(
            place(now), _TOP, _TOP + _plot()
        ),
        Markup('<text class="axis" x="{:.1f}" y="{}" text-anchor="middle">now</text>').format(place(now), HEIGHT - 8),
        _under(_LEFT, f"{begin:%-d %b}", "start"),
        _under(WIDTH - _RIGHT, f"{end:%-d %b %Y}", "end"),
    ]
    parts += [
        Markup('<circle class="recall" cx="{:.1f}" cy="{}" r="3.5"/>').format(place(at), _TOP + _plot() - 6)
        for at in recalls
        if begin <= at <= end
    ]
    value = next((value for at, value in reversed(past) if at <= now), 0.0)
    return _svg(f"{title}: {value:.2f} now, {curve[-1][1]:.2f} on {end:%-d %B %Y} if nothing recalls it.", parts)


def channels(parts: Mapping[str, float], most: float) -> Markup:
    """What each channel added to a result, as bars around a middle line, with the numbers; the smallest together."""
    most = most or 1.0
    ordered = sorted(parts.items(), key=lambda part: -abs(part[1]))
    if len(ordered) > MOST_CHANNELS:
        rest = ordered[MOST_CHANNELS - 1 :]
        ordered = [*ordered[: MOST_CHANNELS - 1], (f"{len(rest)} smaller", sum(value for _, value in rest))]
    rows = []
    for name, value in ordered:
        width = min(49.0, 49.0 * abs(value) / most)
        rows.append(
            Markup(
                '<tr><th scope="row">{}</th><td class="bar"><svg viewBox="0 0 100 8" preserveAspectRatio="none" '
                'aria-hidden="true"><rect class="fill {}" x="{:.1f}" width="{:.1f}" height="8"/>'
                '<rect class="middle" x="49.7" width="0.6" height="8"/></svg></td><td class="figure">{}</td></tr>'
            ).format(
                name.replace("_", " "),
                "plus" if value >= 0 else "minus",
                50 if value >= 0 else 50 - width,
                width,
                f"{value:+.2f}",
            )
        )
    return Markup('<table class="bars channels"><tbody>{}</tbody></table>').format(Markup("").join(rows))


# ---------------------------------------------------------------- parts


def _svg(words: str, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, words, Markup("").join(parts)
    )


def _plot() -> float:
    return HEIGHT - _TOP - _BOTTOM


def _x(place: int, count: int) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * (place / max(count - 1, 1))


def _grid(top: float, words: str) -> Markup:
    rows = []
    for share in (0.0, 0.5, 1.0):
        y = _TOP + _plot() * (1 - share)
        rows.append(
            Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>'
                '<text class="axis" x="{}" y="{:.1f}" text-anchor="end">{}</text>'
            ).format(_LEFT, WIDTH - _RIGHT, y, y, _LEFT - 6, y + 4, words.format(top * share))
        )
    return Markup("").join(rows)


def _under(x: float, words: str, anchor: str) -> Markup:
    return Markup('<text class="axis" x="{:.1f}" y="{}" text-anchor="{}">{}</text>').format(
        x, HEIGHT - 8, anchor, words
    )


def _anchor(place: int, count: int) -> str:
    return "start" if place == 0 else "end" if place == count else "middle"


def _hours(moments: Sequence[datetime]) -> list[Markup]:
    if not moments:
        return []
    steps = [0, len(moments) // 3, 2 * len(moments) // 3, len(moments) - 1]
    return [
        _under(_x(i, len(moments)), f"{moments[i]:%H:%M}", _anchor(place, len(steps) - 1))
        for place, i in enumerate(steps)
    ]


def _last(held: Sequence[float | None]) -> str:
    return next((f"{value:,.1f}" for value in reversed(held) if value is not None), "none")


def _nice(value: float) -> float:
    """The next round number: 1, 2 or 5 times a power of ten, and never below 2 for counts."""
    step = 1.0
    while True:
        for factor in (1, 2, 4, 5, 8):
            if value <= factor * step and factor * step >= 2:
                return factor * step
        step *= 10
