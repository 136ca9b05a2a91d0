"""Alembic migrations. Each must run while the previous release still serves."""
