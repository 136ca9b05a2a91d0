"""Import: many lines, each its own little request, written together as far as they allow it. What another system wrote down
becomes lines first.

Lines travel in batches: one embedding call and one revision each. When a batch is refused because of one of its lines, its
lines are written one by one, so that only the bad one is lost. Once the database is out of reach the rest is answered
without trying, so that the caller knows exactly where to go on.

The body is read before the first result leaves: a caller that sends everything before it reads would otherwise wait for
us while we wait for it.
"""

from __future__ import annotations

import io
import json
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice

import psycopg
import structlog
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from api.call import Call
from api.problems import invalid, translate
from api.schemas.writing import ImportResult, ItemIn
from memos.errors import Invalid, MemosError, Unavailable
from memos.rules import importers
from memos.rules.importers.foreign import Foreign
from memos.services import remember

BATCH = 100

log = structlog.get_logger("memos.api")


NATIVE = "items"
"""The name of our own format: `ItemIn`, one a line."""


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of input: an item, or why it is none. `skipped` says what it is where nothing was to be kept of it."""

    number: int
    item: remember.ItemIn | None
    error: MemosError | None = None
    skipped: str | None = None


def import_lines(call: Call, cube: str, branch: str, body: bytes, system: str = NATIVE) -> Iterator[bytes]:
    """Result lines as NDJSON. What is wrong with the whole request raises here, before the first of them.

    `system` names whose format the body is in: `items` for ours, else one of `memos.rules.importers.READERS`.
    """
    with call.writing() as tx:
        # Writing nothing: finds out whether this key may write to this branch.
        remember.write(tx, call.who, remember.Prepared(cube, branch, "import", [], []), now=call.now)
    if system == NATIVE:
        lines = (_parsed(number, line) for number, line in enumerate(io.BytesIO(body.removeprefix(BOM_UTF8)), start=1))
    else:
        lines = (_mapped(number, foreign) for number, foreign in enumerate(importers.read(system, body), start=1))
    return _results(call, cube, branch, lines)


def _results(call: Call, cube: str, branch: str, lines: Iterator[_Line]) -> Iterator[bytes]:
    while batch := list(islice(lines, BATCH)):
        try:
            results = _imported(call, cube, branch, batch)
        except (MemosError, SQLAlchemyError, psycopg.Error) as error:
            kind = translate(error) or Unavailable("the database refused the batch")
            log.exception("import stopped", line=batch[0].number, code=kind.code)
            rest = chain(batch, lines)
            yield from (_written([_skipped(line) or _refused(line.number, line.error or kind)]) for line in rest)
            return
        yield _written(results)


def _imported(call: Call, cube: str, branch: str, batch: list[_Line]) -> list[ImportResult]:
    """Raises only what would befall every other line as well."""
    good = [(line.number, line.item) for line in batch if line.item is not None]
    try:
        results = _remembered(call, cube, branch, good) if good else {}
    except MemosError as error:
        if error.status >= 500:
            raise
        results = _one_by_one(call, cube, branch, good) if len(good) > 1 else {good[0][0]: _refused(good[0][0], error)}
    return [
        _skipped(line) or (results[line.number] if line.error is None else _refused(line.number, line.error))
        for line in batch
    ]


def _one_by_one(
    call: Call, cube: str, branch: str, items: list[tuple[int, remember.ItemIn]]
) -> dict[int, ImportResult]:
    results: dict[int, ImportResult] = {}
    for number, item in items:
        try:
            results |= _remembered(call, cube, branch, [(number, item)])
        except MemosError as error:
            if error.status >= 500:
                raise
            results[number] = _refused(number, error)
    return results


def _remembered(
    call: Call, cube: str, branch: str, items: list[tuple[int, remember.ItemIn]]
) -> dict[int, ImportResult]:
    prepared = remember.prepare_items(
        call.embedder(cube), cube, items=[item for _, item in items], branch=branch, now=call.now
    )
    with call.writing() as tx:
        written = remember.write(tx, call.who, prepared, now=call.now, reason="import")
    return {
        number: ImportResult(
            line=number,
            status="ok",
            id=memory.id,
            version=memory.version,
            outcome=memory.outcome,
            revision=written.revision,
        )
        for (number, _), memory in zip(items, written.memories, strict=True)
    }


def _parsed(number: int, line: bytes) -> _Line:
    try:
        return _Line(number, remember.ItemIn(**dict(ItemIn.model_validate_json(line))))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        return _Line(number, None, invalid(faults))
    except Invalid as error:
        return _Line(number, None, error)


def _mapped(number: int, foreign: Foreign) -> _Line:
    """An item of another system, held to the same rules as one of ours."""
    if foreign.item is None:
        if foreign.skipped:
            return _Line(number, None, skipped=f"{foreign.name}: {foreign.why}")
        return _Line(number, None, Invalid(f"{foreign.name} {foreign.why}"))
    try:
        return _Line(number, remember.ItemIn(**dict(ItemIn.model_validate_json(json.dumps(foreign.item)))))
    except ValidationError as error:
        return _Line(number, None, _named(foreign, invalid(error.errors(include_url=False, include_input=False))))
    except MemosError as error:
        return _Line(number, None, _named(foreign, error))


def _named(foreign: Foreign, error: MemosError) -> MemosError:
    error.detail = f"{foreign.name}: {error.detail}"
    return error


def _skipped(line: _Line) -> ImportResult | None:
    return None if line.skipped is None else ImportResult(line=line.number, status="skipped", detail=line.skipped)


def _refused(number: int, error: MemosError) -> ImportResult:
    return ImportResult(line=number, status="error", code=error.code, detail=error.detail)


def _written(results: list[ImportResult]) -> bytes:
    return b"".join(result.model_dump_json(exclude_none=True).encode() + b"\n" for result in results)
