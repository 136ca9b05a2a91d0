"""`memos export` and `memos import`: cubes as files, from one service to another or from another kind of system."""

from __future__ import annotations

import base64
import binascii
import gzip
import importlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from memos.cli.console import Console, console
from memos.errors import Invalid
from memos.rules.packages import Manifest, Profile, Trust
from memos.services import administer, export_lines, package_export, package_import, signing
from memos.services.package_import import Imported
from memos.services.remember import utc_now
from memos.settings import Settings
from memos.store import cubes

_GZIP = b"\x1f\x8b"
_PACKAGE = b'{"package":'
_SHOWN_FAULTS = 20


def export_package(settings: Settings, cube: str, output: Path | None, *, tenant: str, profile: Profile) -> int:
    """Write a package; bytes written."""
    with console(settings, tenant) as here:
        keys = signing.keyring(here.app.settings)
        found = package_export.export(
            here.app.database, here.app.embedder, keys, here.who, cube, profile, now=utc_now()
        )
        return _written(found, output)


def export_jsonl(settings: Settings, cube: str, output: Path | None, *, tenant: str, branch: str) -> int:
    """Write the living memories of a branch as lines; bytes written."""
    with console(settings, tenant) as here:
        return _written(export_lines.lines(here.app.database, here.who, cube, branch), output)


def is_package(file: Path) -> bool:
    with _opened(file) as opened:
        return opened.read(len(_PACKAGE)) == _PACKAGE


def check_package(settings: Settings, file: Path, trust: Trust) -> Manifest:
    """Read a package without keeping anything: signature, SHA-256, counts."""
    keys = signing.keyring(settings)
    return package_import.check(lambda: _opened(file), Trust(trust.keys | {keys.public}, trust.anybody))


def import_package(settings: Settings, file: Path, *, tenant: str, name: str | None, trust: Trust) -> Imported:
    with console(settings, tenant) as here:
        return package_import.import_package(
            here.app.database,
            here.app.embedder,
            signing.keyring(here.app.settings),
            here.who,
            lambda: _opened(file),
            now=utc_now(),
            name=name,
            trust=trust,
        )


def import_items(settings: Settings, file: Path, *, system: str, cube: str, branch: str, tenant: str) -> Counter[str]:
    """Write the items of a file, ours or another system's, into a cube, which is made when it is not there. How many ended how;
    faults are told as they come, on standard error."""
    with _opened(file) as opened:
        body = opened.read()
    told: Counter[str] = Counter()
    with console(settings, tenant) as here:
        _ensure_cube(here, cube)
        # The door that checks items stands above this package, so it is named at the last moment.
        importing, calling = importlib.import_module("api.importing"), importlib.import_module("api.call")
        call = calling.Call(here.app, here.who, utc_now())
        for lines in importing.import_lines(call, cube, branch, body, system):
            for line in lines.splitlines():
                result: dict[str, Any] = json.loads(line)
                told[result.get("outcome") or result["status"]] += 1
                if result["status"] != "ok" and told["error"] + told["skipped"] <= _SHOWN_FAULTS:
                    sys.stderr.write(f"item {result['line']}, {result['status']}: {result['detail']}\n")
    return told


def trusted(key_file: Path | None, *, anybody: bool) -> Trust:
    """Whom to trust: the keys of a file as `GET /v1/receipts/key` gives them, or anybody."""
    if key_file is None:
        return Trust(anybody=anybody)
    try:
        parsed = json.loads(key_file.read_bytes())
        offered = parsed.get("keys", [parsed])
        keys = [base64.b64decode(offer["public_key"], validate=True) for offer in offered]
    except OSError as error:
        raise Invalid(f"{key_file} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        raise Invalid(f"{key_file} holds no keys as GET /v1/receipts/key gives them") from None
    return Trust(frozenset(keys), anybody)


def _ensure_cube(here: Console, cube: str) -> None:
    with here.app.database.transaction(here.who.tenant_id) as tx:
        if cube not in {c.name for c in cubes.list_cubes(tx, 2**31 - 1, None, None)}:
            administer.create_cube(tx, here.who, name=cube, description="", policy={}, now=utc_now())


def _written(found: Iterator[bytes], output: Path | None) -> int:
    """To standard output, or to a file that appears whole or not at all; gzip when its name ends in `.gz`."""
    if output is None:
        return sum(sys.stdout.buffer.write(line) for line in found)
    draft = output.with_name(output.name + ".part")
    try:
        with gzip.open(draft, "wb") if output.suffix == ".gz" else draft.open("wb") as file:
            file.writelines(found)
        draft.replace(output)
    except OSError as error:
        raise Invalid(f"{output} cannot be written: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)
    return output.stat().st_size


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    try:
        with file.open("rb") as raw:
            packed = raw.read(len(_GZIP)) == _GZIP
            raw.seek(0)
            if packed:
                with gzip.open(raw) as unpacked:
                    yield cast("BinaryIO", unpacked)
            else:
                yield raw
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error}") from error
