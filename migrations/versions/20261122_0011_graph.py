"""Graph tier: how near two similar memories are.

Revision ID: 0011
Revises: 0010

`weight` is the cosine of the two texts for a `similar` link, written once by the job that found it; other relations have
none. A column without a default, so the table is not rewritten and older releases go on as before.
"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE links ADD COLUMN weight real CHECK (weight BETWEEN -1 AND 1)")


def downgrade() -> None:
    op.execute("ALTER TABLE links DROP COLUMN weight")
