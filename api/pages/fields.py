"""Fields of forms: what a person typed, as the values that services take, or `Invalid` in the words of the form."""

from __future__ import annotations

from uuid import UUID

from api.pages.visiting import Visit
from memos.errors import Invalid

MOST_REASON = 500


def whole(visit: Visit, name: str, what: str, *, most: int, least: int = 1) -> int | None:
    """A whole number; None for an empty field."""
    given = visit.form.get(name, "").strip().replace(",", "")
    if not given:
        return None
    if not (given.isascii() and given.isdigit() and len(given) <= 16 and least <= int(given) <= most):
        raise Invalid(f"give {what} as a whole number from {least:,} to {most:,}, or leave that empty")
    return int(given)


def number(visit: Visit, name: str, what: str, *, most: float) -> float | None:
    """A number above 0; None for an empty field."""
    given = visit.form.get(name, "").strip().replace(",", "")
    if not given:
        return None
    try:
        value = float(given)
    except ValueError:
        value = 0.0
    if not 0 < value <= most:
        raise Invalid(f"give {what} as a number above 0, at most {most:,.0f}, or leave that empty")
    return value


def identity(visit: Visit, name: str, what: str) -> UUID | None:
    """An id; None for an empty field."""
    given = visit.form.get(name, "").strip()
    if not given:
        return None
    try:
        return UUID(given)
    except ValueError:
        raise Invalid(f"give {what} by its id") from None


def words(visit: Visit, name: str) -> list[str]:
    """What stands between commas."""
    return [word for part in visit.form.get(name, "").split(",") if (word := part.strip())]


def reason(visit: Visit) -> str:
    return visit.form.get("reason", "").strip()[:MOST_REASON]
