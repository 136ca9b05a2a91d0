"""What is known of each model whose caches are kept, and what belongs to a cube's caches as a whole: their key, their
budget, and how they served."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import uuid_utils.compat as uuid_utils

from memos.errors import NotFound
from memos.store.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """`spec` is the layout of its caches as JSON; `prefill` and `load` are measured costs, None until they were."""

    model_key: str
    name: str
    spec: dict[str, Any]
    bytes_per_token: int
    prefill: dict[str, float] | None
    load: dict[str, Any] | None
    gates: dict[str, Any]


_MODEL = ", ".join(Model.__dataclass_fields__)


def register(tx: Transaction, model_key: str, name: str, spec: Mapping[str, Any], bytes_per_token: int) -> None:
    """Make a model known. Repeating it is harmless."""
    tx.run(
        "INSERT INTO kv_models (tenant_id, model_key, name, spec, bytes_per_token) "
        "VALUES (:tenant, :key, :name, CAST(:spec AS jsonb), :bytes) ON CONFLICT (tenant_id, model_key) DO NOTHING",
        key=model_key, name=name, spec=json.dumps(spec), bytes=bytes_per_token,
    )  # fmt: skip


def find(tx: Transaction, reference: str) -> Model:
    """By model key, or the newest of that name."""
    row = tx.row(
        f"SELECT {_MODEL} FROM kv_models WHERE tenant_id = :tenant AND (model_key = :ref OR name = :ref) "
        "ORDER BY model_key = :ref DESC, created_at DESC LIMIT 1",
        ref=reference,
    )
    if row is None:
        raise NotFound("no such model")
    return Model(**row)


def all_models(tx: Transaction) -> list[Model]:
    return [Model(**row) for row in tx.rows(f"SELECT {_MODEL} FROM kv_models WHERE tenant_id = :tenant ORDER BY name")]


def calibrate(tx: Transaction, model_key: str, prefill: Mapping[str, float], load: Mapping[str, Any]) -> None:
    tx.run(
        "UPDATE kv_models SET prefill = CAST(:prefill AS jsonb), load = CAST(:load AS jsonb) "
        "WHERE tenant_id = :tenant AND model_key = :key",
        key=model_key, prefill=json.dumps(prefill), load=json.dumps(load),
    )  # fmt: skip


def set_gate(tx: Transaction, model_key: str, codec: str, figures: Mapping[str, Any]) -> None:
    """What a codec was measured to do to this model's answers; the last measurement counts."""
    tx.run(
        "UPDATE kv_models SET gates = gates || CAST(:gate AS jsonb) WHERE tenant_id = :tenant AND model_key = :key",
        key=model_key, gate=json.dumps({codec: figures}),
    )  # fmt: skip


# ---------------------------------------------------------------- keys of cubes


def wrapped_dek(tx: Transaction, cube_id: UUID) -> bytes | None:
    found = tx.scalar("SELECT wrapped FROM kv_deks WHERE tenant_id = :tenant AND cube_id = :cube", cube=cube_id)
    return None if found is None else bytes(found)


def keep_dek(tx: Transaction, cube_id: UUID, wrapped: bytes) -> bytes:
    """The cube's wrapped key: this one, or the one that somebody kept before."""
    tx.run(
        "INSERT INTO kv_deks (tenant_id, cube_id, wrapped) VALUES (:tenant, :cube, :wrapped) "
        "ON CONFLICT (tenant_id, cube_id) DO NOTHING",
        cube=cube_id, wrapped=wrapped,
    )  # fmt: skip
    kept = wrapped_dek(tx, cube_id)
    assert kept is not None  # noqa: S101 - inserted above, by us or another
    return kept


def deks(tx: Transaction) -> list[tuple[UUID, bytes]]:
    """(cube, wrapped key) of every cube that has one."""
    rows = tx.tuples("SELECT cube_id, wrapped FROM kv_deks WHERE tenant_id = :tenant ORDER BY cube_id")
    return [(row[0], bytes(row[1])) for row in rows]


def replace_dek(tx: Transaction, cube_id: UUID, before: bytes, wrapped: bytes) -> None:
    """The same key in another wrapping, if that is still the one that was read."""
    tx.run(
        "UPDATE kv_deks SET wrapped = :wrapped WHERE tenant_id = :tenant AND cube_id = :cube AND wrapped = :before",
        cube=cube_id, before=before, wrapped=wrapped,
    )  # fmt: skip


def sealed_cubes(tx: Transaction) -> list[UUID]:
    """Cubes that have a key, and so may have caches."""
    return [row[0] for row in tx.tuples("SELECT cube_id FROM kv_deks WHERE tenant_id = :tenant ORDER BY cube_id")]


# ---------------------------------------------------------------- budgets


@dataclass(frozen=True, slots=True)
class Budget:
    """`bytes_max` of None means that nobody set one. `clock` is the eviction policy's."""

    bytes_max: int | None
    clock: float


def budget(tx: Transaction, scope_id: UUID, *, lock: bool = False) -> Budget:
    suffix = " FOR UPDATE" if lock else ""
    row = tx.row(
        f"SELECT bytes_max, clock FROM kv_budgets WHERE tenant_id = :tenant AND scope_id = :scope{suffix}",
        scope=scope_id,
    )
    return Budget(None, 0.0) if row is None else Budget(row["bytes_max"], row["clock"])


def set_budget(tx: Transaction, scope_id: UUID, bytes_max: int) -> None:
    tx.run(
        "INSERT INTO kv_budgets (tenant_id, scope_id, bytes_max) VALUES (:tenant, :scope, :bytes) "
        "ON CONFLICT (tenant_id, scope_id) DO UPDATE SET bytes_max = excluded.bytes_max",
        scope=scope_id, bytes=bytes_max,
    )  # fmt: skip


def set_clock(tx: Transaction, scope_id: UUID, clock: float) -> None:
    """It only ever advances."""
    tx.run(
        "INSERT INTO kv_budgets (tenant_id, scope_id, clock) VALUES (:tenant, :scope, :clock) "
        "ON CONFLICT (tenant_id, scope_id) DO UPDATE SET clock = greatest(kv_budgets.clock, excluded.clock)",
        scope=scope_id, clock=clock,
    )  # fmt: skip


def cube_budgets(tx: Transaction) -> dict[UUID, int]:
    """Cubes with a budget of their own."""
    rows = tx.tuples(
        "SELECT b.scope_id, b.bytes_max FROM kv_budgets b JOIN cubes c ON c.tenant_id = b.tenant_id AND c.id = b.scope_id "
        "WHERE b.tenant_id = :tenant AND b.bytes_max IS NOT NULL ORDER BY 1"
    )
    return {row[0]: row[1] for row in rows}


# ---------------------------------------------------------------- outcomes


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    cube_id: UUID
    model_key: str
    at: datetime
    category: str
    loaded: bool
    used_tokens: int
    ttft_ms: float
    saved_ms: float


def record_outcome(tx: Transaction, outcome: Outcome) -> None:
    tx.run(
        "INSERT INTO kv_outcomes (tenant_id, id, cube_id, model_key, at, category, loaded, used_tokens, ttft_ms, saved_ms) "
        "VALUES (:tenant, :id, :cube, :model, :at, :category, :loaded, :used, :ttft, :saved)",
        id=uuid_utils.uuid7(), cube=outcome.cube_id, model=outcome.model_key, at=outcome.at, category=outcome.category,
        loaded=outcome.loaded, used=outcome.used_tokens, ttft=outcome.ttft_ms, saved=outcome.saved_ms,
    )  # fmt: skip


def outcome_sums(tx: Transaction, cube_ids: Collection[UUID] | None) -> dict[str, Any]:
    row = tx.row(
        "SELECT count(*) FILTER (WHERE loaded) AS loads, count(*) FILTER (WHERE NOT loaded) AS prefills, "
        "coalesce(sum(used_tokens) FILTER (WHERE loaded), 0) AS tokens_loaded, "
        "coalesce(sum(CAST(saved_ms AS double precision)), 0) / 1000.0 AS saved_s, "
        "CAST(avg(ttft_ms) FILTER (WHERE loaded) AS double precision) AS mean_ttft_ms_loaded, "
        "CAST(avg(ttft_ms) FILTER (WHERE NOT loaded) AS double precision) AS mean_ttft_ms_prefilled "
        "FROM kv_outcomes WHERE tenant_id = :tenant AND (CAST(:cubes AS uuid[]) IS NULL OR cube_id = ANY(:cubes))",
        cubes=None if cube_ids is None else list(cube_ids),
    )
    return dict(row or {})


def purge_outcomes(tx: Transaction, before: datetime) -> int:
    return tx.run("DELETE FROM kv_outcomes WHERE tenant_id = :tenant AND at < :before", before=before)
