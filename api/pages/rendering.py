"""Pages as HTML: templates, the words numbers and times are said in, and the headers that keep pages to themselves.

The content security policy allows our own files and nothing else: no inline script or style, no other host. So nothing
that was ever written into a memory can run in an operator's browser, even if a template forgot to escape it.
"""

from __future__ import annotations

import difflib
import re
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import UUID

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape
from starlette.responses import Response

from api.pages import charts, history_picture, static_files
from api.pages.visiting import ROOT, TOKEN, Visit, see_other
from memos.errors import MemosError

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Memories are nobody's business after the operator has signed out.
    "Cache-Control": "no-store",
}
_TAKEN_OUT, _PUT_IN = Markup("<del>{}</del>"), Markup("<ins>{}</ins>")
_PIECES = re.compile(r"\s+|\w+|[^\w\s]")


def page(visit: Visit, template: str, *, status: int = 200, **values: Any) -> Response:
    """A whole page for somebody signed in."""
    return html(template, status=status, visit=visit, now=visit.now, path=visit.request.url.path, **values)


def html(template: str, *, status: int = 200, **values: Any) -> Response:
    text = templates().get_template(template).render(root=ROOT, token_name=TOKEN, **values)
    return Response(text, status, dict(HEADERS), media_type="text/html; charset=utf-8")


def problem(visit: Visit, error: MemosError) -> Response:
    """What went wrong, in the words of the API, as a page or as a part of one."""
    detail = error.detail if error.status < 500 else error.title
    template = "parts/problem.html" if visit.fragment else "problem.html"
    return page(visit, template, status=error.status, error=error, detail=detail)


def done(path: str, what: str) -> Response:
    """Go on to a page of ours that says what was done (a key of `DONE`)."""
    return see_other(f"{path}{'&' if '?' in path else '?'}done={what}")


DONE = {
    "rollback": "Rolled back. The earlier state is the newest revision now; nothing in between is lost.",
    "cancelled": "The job is cancelled.",
    "retried": "The job waits in the queue again.",
    "revoked": "The key is revoked and stops working at once.",
    "state": "The memory's state has changed.",
    "released": "Released. It is recalled from now on.",
    "rejected": "Rejected. It is put away and stays in quarantine.",
    "restored": "The earlier version is the newest one now.",
    "shared": "The cube is shared. The guest addresses it by its id.",
    "unshared": "The grant is revoked and stops working at once.",
    "held": "The hold is placed. Nothing it covers is erased, expired, archived or deleted.",
    "lifted": "The hold is lifted.",
    "kept": "The retention class is added; the workers go through the cube within a day.",
    "unkept": "The retention class is gone.",
    "limits": "The limits are set. Other processes follow within seconds.",
    "tenant": "The tenant is created. Make a key for it below.",
}


@cache
def templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("api.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ago": ago,
        "number": number,
        "size": size,
        "percent": percent,
        "short": short,
        "ms": milliseconds,
        "label": label,
        "when": when,
    }
    environment.globals |= {
        "asset": static_files.address,
        "charts": charts,
        "history_picture": history_picture,
        "changes": changes,
        "DONE": DONE,
        "NAVIGATION": NAVIGATION,
    }
    return environment


NAVIGATION = (
    ("", "Overview"),
    ("/cubes", "Cubes"),
    ("/bench", "Search bench"),
    ("/traces", "Traces"),
    ("/jobs", "Jobs"),
    ("/decisions", "Decisions"),
    ("/quarantine", "Quarantine"),
    ("/audit", "Audit"),
    ("/receipts", "Erasures"),
    ("/storage", "Storage"),
    ("/access", "Access"),
    ("/sharing", "Sharing"),
    ("/retention", "Retention and holds"),
    ("/limits", "Limits"),
)
"""Where the pages are, and what they are called."""


# ---------------------------------------------------------------- words for numbers and times


@pass_context
def ago(context: Context, moment: datetime | None) -> Markup:
    """`3 min ago`, with the exact time for whoever points at it."""
    if moment is None:
        return Markup('<span class="none">never</span>')
    now: datetime = context["now"]
    exact = moment.astimezone(UTC)
    text = Markup('<time datetime="{}" title="{}">{}</time>')
    return text.format(exact.isoformat(), f"{exact:%d %b %Y, %H:%M:%S} UTC", _distance((now - exact).total_seconds()))


def when(moment: datetime | None) -> Markup:
    """`1 Aug 2026, 09:30`."""
    if moment is None:
        return Markup('<span class="none">–</span>')
    exact = moment.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(exact.isoformat(), f"{exact.day} {exact:%b %Y, %H:%M}")


def _distance(seconds: float) -> str:
    words = "in {}" if seconds < 0 else "{} ago"
    seconds = abs(seconds)
    for limit, unit, name in ((60, 1, "s"), (3_600, 60, "min"), (86_400, 3_600, "h"), (86_400 * 60, 86_400, "days")):
        if seconds < limit:
            amount = int(seconds // unit)
            return "just now" if name == "s" and amount < 2 else words.format(_plural(amount, name))
    months = int(seconds // (86_400 * 30.44))
    return words.format(f"{months} months" if months < 24 else f"{months // 12} years")


def _plural(amount: int, name: str) -> str:
    return "1 day" if (amount, name) == (1, "days") else f"{amount} {name}"


def number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:,.2f}"


def size(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1_000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1_000
    return f"{value:.1f} TB"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def milliseconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f} ms" if value < 100 else f"{value:,.0f} ms" if value < 10_000 else f"{value / 1000:,.1f} s"


def short(value: UUID | str | None) -> str:
    """The end of an id: its beginning is a time and looks alike for all."""
    return "–" if value is None else str(value)[-8:]


def label(text: str | None, most: int = 120) -> str:
    """A text as a line."""
    line = " ".join((text or "").split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def changes(before: str | None, after: str | None) -> Markup:
    """The later text with what was put in and taken out, word by word."""
    old, new = _pieces(before), _pieces(after)
    parts: list[Markup] = []
    for kind, i1, i2, j1, j2 in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            parts.append(escape("".join(new[j1:j2])))
            continue
        parts += [_TAKEN_OUT.format("".join(old[i1:i2]))] if i2 > i1 else []
        parts += [_PUT_IN.format("".join(new[j1:j2]))] if j2 > j1 else []
    return Markup("").join(parts)


def _pieces(text: str | None) -> list[str]:
    # Beyond this nobody reads word by word, and the comparison would take seconds: whole lines do.
    return _PIECES.findall(text or "") if len(text or "") < 20_000 else (text or "").splitlines(keepends=True)
