"""What a tenant's memory takes up, by tier; and, for whoever operates the service, what each table does.

A tenant's bytes are measured on a sample of its rows and scaled by how many it has; the sizes of tables are the whole
service's and are therefore not for everybody.
"""

from __future__ import annotations

from dataclasses import dataclass

from memos.store.transaction import Transaction

SAMPLED_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one tenant in one table. `estimated`: bytes were measured on the newest `SAMPLED_ROWS` rows."""

    tier: str
    table: str
    rows: int
    bytes: int
    estimated: bool


@dataclass(frozen=True, slots=True)
class TableSize:
    """A table of the whole service: rows as the planner knows them, bytes with its partitions."""

    table: str
    rows: int
    heap_bytes: int
    index_bytes: int


# What each tier is made of. A table that is not there yet (the activation tier comes by a later migration) is left out.
TIERS: dict[str, tuple[str, ...]] = {
    "plaintext": ("memory_versions", "contents", "heads", "postings", "facets"),
    "graph": ("entities", "mentions", "claims", "links"),
    "activation": ("kv_plans", "kv_objects"),
}
# A blob lies outside its row.
_BLOBS = {"kv_objects": " + t.n_bytes"}
_COUNTED = 20_000
"""A tenant's rows in a table are counted up to here; more are reckoned from its share of the table's pages."""


def parts(tx: Transaction) -> list[Part]:
    there = {
        row["relname"]
        for row in tx.rows(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public' "
            "AND c.relkind IN ('r', 'p') AND c.relname = ANY(:names)",
            names=[table for tables in TIERS.values() for table in tables],
        )
    }
    return [_part(tx, tier, table) for tier, tables in TIERS.items() for table in tables if table in there]


def _part(tx: Transaction, tier: str, table: str) -> Part:
    row = tx.row(
        f"WITH counted AS (SELECT count(*) AS n FROM (SELECT 1 FROM {table} WHERE tenant_id = :tenant LIMIT :most) c), "
        f"sample AS (SELECT pg_column_size(t.*){_BLOBS.get(table, '')} AS size FROM {table} t "
        "WHERE t.tenant_id = :tenant LIMIT :sample) "
        "SELECT counted.n, (SELECT avg(size) FROM sample) AS width, (SELECT count(*) FROM sample) AS sampled FROM counted",
        most=_COUNTED,
        sample=SAMPLED_ROWS,
    )
    assert row is not None  # noqa: S101 - aggregates always answer
    rows = int(row["n"])
    if rows >= _COUNTED:
        rows = max(rows, _planned(tx, table))
    width = float(row["width"] or 0)
    return Part(tier, table, rows, round(rows * width), estimated=rows > int(row["sampled"]) or rows >= _COUNTED)


def _planned(tx: Transaction, table: str) -> int:
    """How many of the tenant's rows the planner expects."""
    plan = tx.scalar(f"EXPLAIN (FORMAT JSON) SELECT 1 FROM {table} WHERE tenant_id = CAST(:tenant AS uuid)")
    return int(plan[0]["Plan"]["Plan Rows"])


def tables(tx: Transaction) -> list[TableSize]:
    """Every table of the schema, largest first."""
    rows = tx.rows(
        "WITH RECURSIVE tree AS (SELECT c.oid AS root, c.oid AS part FROM pg_class c JOIN pg_namespace n "
        "ON n.oid = c.relnamespace WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition "
        "UNION ALL SELECT t.root, i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.part) "
        "SELECT r.relname AS table, CAST(sum(greatest(p.reltuples, 0)) AS bigint) AS rows, "
        "CAST(sum(pg_table_size(p.oid)) AS bigint) AS heap_bytes, "
        "CAST(sum(pg_indexes_size(p.oid)) AS bigint) AS index_bytes FROM tree t JOIN pg_class r ON r.oid = t.root "
        "JOIN pg_class p ON p.oid = t.part GROUP BY r.relname ORDER BY sum(pg_total_relation_size(p.oid)) DESC, r.relname"
    )
    return [TableSize(**row) for row in rows]
