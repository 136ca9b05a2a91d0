"""What the writes of a source came to; the reading of it is `memos.rules.reputation`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from memos.rules.reputation import Reputation
from memos.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class SourceRow:
    key_id: UUID
    trust_class: str
    reputation: Reputation


_COLUMNS = "key_id, trust_class, good, bad, recent_good, recent_bad, updated_at"


def known(tx: Transaction, key_id: UUID, classes: Collection[str], *, lock: bool = False) -> dict[str, Reputation]:
    """The evidence about a key, by what it relays. Classes nothing is known of are missing."""
    rows = tx.tuples(
        f"SELECT {_COLUMNS} FROM source_trust WHERE tenant_id = :tenant AND key_id = :key "
        "AND trust_class = ANY(:classes) ORDER BY trust_class" + (" FOR UPDATE" if lock else ""),
        key=key_id,
        classes=sorted(classes),
    )
    return {row[1]: _reputation(row) for row in rows}


def keep(tx: Transaction, key_id: UUID, found: Mapping[str, Reputation]) -> None:
    for trust_class, one in sorted(found.items()):
        tx.run(
            f"INSERT INTO source_trust (tenant_id, {_COLUMNS}) VALUES (:tenant, :key, :class, :good, :bad, :rgood, :rbad, "
            ":now) ON CONFLICT (tenant_id, key_id, trust_class) DO UPDATE SET good = :good, bad = :bad, "
            "recent_good = :rgood, recent_bad = :rbad, updated_at = :now",
            **{"class": trust_class},
            key=key_id,
            good=one.good,
            bad=one.bad,
            rgood=one.recent_good,
            rbad=one.recent_bad,
            now=one.updated_at,
        )


def everyone(tx: Transaction, most: int) -> list[SourceRow]:
    """Those about whom there is most to say, the worst first."""
    rows = tx.tuples(
        f"SELECT {_COLUMNS} FROM source_trust WHERE tenant_id = :tenant ORDER BY bad DESC, key_id, trust_class LIMIT :most",
        most=most,
    )
    return [SourceRow(row[0], row[1], _reputation(row)) for row in rows]


def _reputation(row: tuple[object, ...]) -> Reputation:
    good, bad, recent_good, recent_bad = (float(str(value)) for value in row[2:6])
    updated_at = row[6]
    assert isinstance(updated_at, datetime)  # noqa: S101 - the column's type
    return Reputation(updated_at, good, bad, recent_good, recent_bad)
