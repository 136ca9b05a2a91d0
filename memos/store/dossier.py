"""Everything that is stored about one memory, table by table, whatever branch or revision it is seen from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from memos.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Text:
    """One text of a memory with what was computed from it. `norm` is the vector's length; None when it was erased.

    `values` are the vector's numbers, when they were asked for. `terms` are the lexemes with their counts, most frequent
    first. `reader` has read claims and mentions from it; None while nobody has.
    """

    content_id: int
    versions: list[int]
    tokens: int
    length: int
    dimensions: int | None
    norm: float | None
    values: list[float] | None
    terms: list[tuple[str, int]]
    reader: str | None
    read_at: datetime | None
    erased_at: datetime | None


@dataclass(frozen=True, slots=True)
class Place:
    """A branch on which a version of the memory is in the indexes of the present. `indexed`: in the vector graph."""

    branch: str
    version: int
    indexed: bool
    postings: int


@dataclass(frozen=True, slots=True)
class Mention:
    content_id: int
    entity_id: UUID
    entity: str
    name: str
    type: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Claim:
    content_id: int
    subject: str
    attribute: str
    value: str | None
    confidence: float


@dataclass(frozen=True, slots=True)
class Use:
    """What recall has taught. `recent` are the last recalls, newest first."""

    recalls: int
    repeats: int
    last_recalled_at: datetime | None
    stability_days: float
    weighted_recalls: float
    recent: list[datetime]
    tier: str


@dataclass(frozen=True, slots=True)
class Step:
    """A change of state."""

    version: int
    branch: str
    revision: int | None
    from_state: str
    to_state: str
    action: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Linked:
    """A memory that this one is linked with. `outgoing`: this one holds the link."""

    memory_id: UUID
    version: int
    relation: str
    outgoing: bool


@dataclass(frozen=True, slots=True)
class Cached:
    """A KV cache object in which a version of the memory stands. `key` is the chunk's address in hexadecimal."""

    key: str
    version: int
    model: str
    codec: str
    state: str
    tokens: int
    bytes: int
    last_used_at: datetime | None


def homes(tx: Transaction, memory_id: UUID) -> list[UUID]:
    """Cubes that hold a memory of this id, the oldest first: a copied cube keeps its memories' ids."""
    rows = tx.rows(
        "SELECT c.id FROM cubes c JOIN memories m ON m.tenant_id = :tenant AND m.cube_id = c.id AND m.id = :memory "
        "WHERE c.tenant_id = :tenant ORDER BY c.id",
        memory=memory_id,
    )
    return [row["id"] for row in rows]


def created_at(tx: Transaction, cube_id: UUID, memory_id: UUID) -> datetime:
    """When the memory itself came to be, which is when its strength began to fade."""
    moment: datetime = tx.scalar(
        "SELECT created_at FROM memories WHERE tenant_id = :tenant AND cube_id = :cube AND id = :memory",
        cube=cube_id,
        memory=memory_id,
    )
    return moment


def texts(tx: Transaction, cube_id: UUID, memory_id: UUID, *, values: bool) -> list[Text]:
    """Newest first."""
    rows = tx.rows(
        "SELECT c.id AS content_id, c.tokens, c.length, vector_dims(CAST(c.embedding AS vector)) AS dimensions, "
        "vector_norm(CAST(c.embedding AS vector)) AS norm, "
        "CASE WHEN :values THEN CAST(CAST(c.embedding AS vector) AS real[]) END AS values, "
        "c.terms, c.counts, r.reader, r.read_at, c.erased_at, "
        "(SELECT array_agg(v.version ORDER BY v.version DESC) FROM memory_versions v WHERE v.tenant_id = :tenant "
        "AND v.content_id = c.id) AS versions FROM contents c "
        "LEFT JOIN readings r ON r.tenant_id = :tenant AND r.content_id = c.id "
        "WHERE c.tenant_id = :tenant AND c.cube_id = :cube AND c.memory_id = :memory ORDER BY c.id DESC",
        cube=cube_id,
        memory=memory_id,
        values=values,
    )
    return [
        Text(
            content_id=row["content_id"],
            versions=row["versions"] or [],
            tokens=row["tokens"],
            length=row["length"],
            dimensions=row["dimensions"],
            norm=row["norm"],
            values=row["values"],
            terms=sorted(zip(row["terms"], row["counts"], strict=True), key=lambda term: (-term[1], term[0])),
            reader=row["reader"],
            read_at=row["read_at"],
            erased_at=row["erased_at"],
        )
        for row in rows
    ]


def places(tx: Transaction, memory_id: UUID) -> list[Place]:
    rows = tx.rows(
        "SELECT b.name AS branch, v.version, h.indexed, (SELECT count(*) FROM contents c "
        "CROSS JOIN LATERAL unnest(c.terms) AS t (term) JOIN postings p ON p.tenant_id = :tenant "
        "AND p.branch_id = h.branch_id AND p.folded = h.folded AND p.term = t.term AND p.version_id = v.id "
        "WHERE c.tenant_id = :tenant AND c.id = v.content_id) AS postings "
        "FROM heads h JOIN branches b ON b.tenant_id = :tenant AND b.id = h.branch_id "
        "JOIN memory_versions v ON v.tenant_id = :tenant AND v.id = h.version_id "
        "WHERE h.tenant_id = :tenant AND h.memory_id = :memory ORDER BY b.id",
        memory=memory_id,
    )
    return [Place(**row) for row in rows]


def mentions(tx: Transaction, cube_id: UUID, memory_id: UUID) -> list[Mention]:
    rows = tx.rows(
        "SELECT m.content_id, m.entity_id, e.name AS entity, m.name, m.type, m.confidence FROM contents c "
        "JOIN mentions m ON m.tenant_id = :tenant AND m.content_id = c.id "
        "JOIN entities e ON e.tenant_id = :tenant AND e.cube_id = :cube AND e.id = m.entity_id "
        "WHERE c.tenant_id = :tenant AND c.cube_id = :cube AND c.memory_id = :memory ORDER BY m.content_id DESC, m.name",
        cube=cube_id,
        memory=memory_id,
    )
    return [Mention(**row) for row in rows]


def claims(tx: Transaction, cube_id: UUID, memory_id: UUID) -> list[Claim]:
    rows = tx.rows(
        "SELECT k.content_id, coalesce(k.body ->> 'subject', k.subject_key) AS subject, "
        "coalesce(k.body ->> 'attribute', k.attribute_key) AS attribute, k.body ->> 'value' AS value, k.confidence "
        "FROM contents c JOIN claims k ON k.tenant_id = :tenant AND k.content_id = c.id "
        "WHERE c.tenant_id = :tenant AND c.cube_id = :cube AND c.memory_id = :memory ORDER BY k.content_id DESC, k.position",
        cube=cube_id,
        memory=memory_id,
    )
    return [Claim(**row) for row in rows]


def use(tx: Transaction, cube_id: UUID, memory_id: UUID) -> Use | None:
    """None for one that was never recalled, repeated or promoted."""
    row = tx.row(
        "SELECT recalls, repeats, last_recalled_at, stability_days, weighted_recalls, recent, tier FROM usage "
        "WHERE tenant_id = :tenant AND cube_id = :cube AND memory_id = :memory",
        cube=cube_id,
        memory=memory_id,
    )
    return None if row is None else Use(**row)


def steps(tx: Transaction, cube_id: UUID, memory_id: UUID, limit: int) -> list[Step]:
    """Newest first."""
    rows = tx.rows(
        "SELECT t.version, b.name AS branch, t.revision, t.from_state, t.to_state, t.action, t.at FROM transitions t "
        "JOIN branches b ON b.tenant_id = :tenant AND b.id = t.branch_id "
        "WHERE t.tenant_id = :tenant AND t.cube_id = :cube AND t.memory_id = :memory ORDER BY t.id DESC LIMIT :limit",
        cube=cube_id,
        memory=memory_id,
        limit=limit,
    )
    return [Step(**row) for row in rows]


def links(tx: Transaction, cube_id: UUID, memory_id: UUID, limit: int) -> list[Linked]:
    rows = tx.rows(
        "SELECT * FROM ((SELECT other_id AS memory_id, version, relation, true AS outgoing FROM links "
        "WHERE tenant_id = :tenant AND cube_id = :cube AND memory_id = :memory LIMIT :limit) UNION ALL "
        "(SELECT memory_id, version, relation, false FROM links WHERE tenant_id = :tenant AND cube_id = :cube "
        "AND other_id = :memory LIMIT :limit)) l ORDER BY relation, memory_id, version LIMIT :limit",
        cube=cube_id,
        memory=memory_id,
        limit=limit,
    )
    return [Linked(**row) for row in rows]


def traces_naming(tx: Transaction, memory_id: UUID, limit: int) -> list[UUID]:
    """The newest traces in which the memory came up."""
    rows = tx.rows(
        "SELECT id FROM (SELECT id, memory_ids FROM traces WHERE tenant_id = :tenant ORDER BY id DESC LIMIT 5000) t "
        "WHERE :memory = ANY(memory_ids) ORDER BY id DESC LIMIT :limit",
        memory=memory_id,
        limit=limit,
    )
    return [row["id"] for row in rows]


def cached(tx: Transaction, cube_id: UUID, memory_id: UUID, limit: int) -> list[Cached]:
    """KV caches that hold the memory, newest first; none where the activation tier's tables are not there."""
    if tx.scalar("SELECT to_regclass('public.kv_chunk_memories')") is None:
        return []
    rows = tx.rows(
        "SELECT encode(o.key, 'hex') AS key, m.version, k.name AS model, o.codec, o.state, c.n_tokens AS tokens, "
        "o.n_bytes AS bytes, c.last_used_at FROM kv_chunk_memories m "
        "JOIN kv_chunks c ON c.tenant_id = :tenant AND c.key = m.key AND c.cube_id = :cube "
        "JOIN kv_objects o ON o.tenant_id = :tenant AND o.key = m.key "
        "JOIN kv_models k ON k.tenant_id = :tenant AND k.model_key = c.model_key "
        "WHERE m.tenant_id = :tenant AND m.memory_id = :memory ORDER BY o.created_at DESC, o.key, o.codec LIMIT :limit",
        cube=cube_id,
        memory=memory_id,
        limit=limit,
    )
    return [Cached(**row) for row in rows]
