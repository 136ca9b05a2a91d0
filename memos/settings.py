"""Every knob of the service in one place: name, default, meaning.

Each is an environment variable with the prefix `MEMOS_`, except `DATABASE_URL` and `REDIS_URL`, which platforms set by
those names. A test fails when docs/operations.md does not mention one.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="MEMOS_", extra="ignore", frozen=True, populate_by_name=True)

    # -- Servers. What is not named here is started from wheels in `data_dir`.
    database_url: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("DATABASE_URL", "MEMOS_DATABASE_URL")
    )
    """Owner of the schema: migrates, and gives the app role its login."""
    app_database_url: SecretStr | None = None
    """Login the API and workers use; derived from `database_url` when absent."""
    redis_url: SecretStr | None = Field(default=None, validation_alias=AliasChoices("REDIS_URL", "MEMOS_REDIS_URL"))
    data_dir: Path | None = None
    """Where embedded servers, exported models and the owner key live."""

    # -- Identity
    owner_key: SecretStr | None = None
    """Presets the first key instead of generating one."""
    secret: SecretStr | None = None
    """Root of keyed hashes and signatures; generated into `data_dir` when absent."""
    signing_generation: int = Field(default=0, ge=0, le=1_000)
    """Raise it by one to sign receipts with a new key; those signed before still verify."""
    key_cache_ttl: timedelta = timedelta(seconds=5)
    """How long a revoked key may still work on another replica. Here it stops at once."""

    # -- Encoders
    embedder: str = "minilm-int8"
    vector_width: int | None = Field(default=None, ge=1, le=4_000)
    """Dimensions of the database's vectors where they are more than the model's: room for a wider model (`memos widen`)."""
    model_dir: Path | None = None
    """Where built models are kept; `data_dir`/models when absent. May be read-only once built."""
    encoder_threads: int = Field(default=1, ge=1, le=64)
    """Two torch threads on two cores fight each other; one is steadier."""

    # -- Limits: bounds on everything a caller can send
    max_body_bytes: int = Field(default=32 * 2**20, ge=2**16)
    max_text_bytes: int = Field(default=2**20, ge=2**10)
    """A message, fact or query beyond this is 413; documents may fill the body."""
    max_items: int = Field(default=1_000, ge=1)
    """Messages or items in one request."""
    max_limit: int = Field(default=200, ge=1)
    """Items in one answer."""

    max_queued_jobs: int = Field(default=20_000, ge=0)
    """Jobs of one tenant that may wait; beyond, whoever adds one is answered 429. 0 is no bound."""

    # -- Pools. One API process serves about 20 requests at once on two cores.
    pool_size: int = Field(default=20, ge=1, le=500)
    pool_timeout_s: float = Field(default=10.0, gt=0)
    statement_timeout_s: float = Field(default=30.0, gt=0)

    # -- The activation tier
    kv_model: str | None = None
    """Model to keep KV caches for: `smollm2`, `fake`, or the path of a model's folder. Without one, plans are text."""
    kv_blobs: Literal["filesystem", "postgres"] = "filesystem"
    """Where caches lie. The filesystem is `data_dir`/kv, and faster; PostgreSQL is one thing to back up."""
    kv_dir: Path | None = None
    """Folder of the caches when it is not `data_dir`/kv; shared by the API and the workers."""
    kv_budget_bytes: int = Field(default=2 * 2**30, ge=0)
    """Most a tenant's caches may take when no budget was set for it."""
    master_key: SecretStr | None = None
    """Wraps the keys that caches are encrypted with; generated into `data_dir` when absent."""
    previous_master_key: SecretStr | None = None
    """The one before it, until `memos keys rotate-master` has wrapped all of them anew."""

    @field_validator("kv_model", mode="before")
    @classmethod
    def _none_if_empty(cls, value: object) -> object:
        """Compose files cannot leave a variable out."""
        return value or None

    # -- Coming and going
    api_processes: int = Field(default=1, ge=1, le=64)
    """API processes that `memos serve` keeps on its one port."""
    drain_s: float = Field(default=1.0, ge=0, le=300)
    """How long a stopping API still takes requests while `/readyz` says 503; as long as a balancer needs to notice."""

    # -- Seeing what happens
    log_level: str = "INFO"
    log_json: bool = True
    metrics_public: bool = False
    """Whether /metrics answers without an admin key (it names no memory content)."""

    worker_metrics: str | None = None
    """HOST:PORT on which a worker serves its measurements, without a key (they name no memory content)."""

    # -- Telling others
    webhook_private: bool = False
    """Whether webhooks may go to private addresses and over plain HTTP; for networks in which every caller is trusted."""
    webhook_timeout_s: float = Field(default=5.0, gt=0, le=60)
    """For one message as a whole. A worker waits for it."""
    max_feeds: int = Field(default=100, ge=0)
    """Event feeds open at a time in one API process; one tenant may hold half of them."""

    # -- The optional LLM
    llm_url: str | None = None
    """Base of any OpenAI-compatible server, with its `/v1`. Without it, or when it fails, rules do the same work."""
    llm_model: str | None = None
    llm_key: SecretStr | None = None
    llm_timeout_s: float = Field(default=60.0, gt=0)
    llm_price_in: float = Field(default=0.0, ge=0)
    """Dollars per million tokens read, for the cost that jobs report."""
    llm_price_out: float = Field(default=0.0, ge=0)
