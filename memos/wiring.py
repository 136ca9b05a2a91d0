"""The one composition root: settings in, connected parts out. Nothing is built on import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from memos.cache.nudge import NoNudger, Nudger
from memos.embedded import default_data_dir
from memos.encoders.embedder import Embedder, build_embedder
from memos.errors import Misconfigured
from memos.services.known_speakers import KnownSpeakers
from memos.services.kv_tier import ActivationTier
from memos.services.recall import Recall
from memos.services.recall_buffer import RecallBuffer
from memos.services.signing import keyring
from memos.services.trace_buffer import TraceBuffer
from memos.settings import Settings
from memos.store.engine import Database
from memos.store.schema import app_url


@dataclass(frozen=True, slots=True)
class App:
    """Everything a process needs. Build one per process, after forking."""

    settings: Settings
    database: Database
    embedder: Embedder
    redis: Redis | None
    recalls: RecallBuffer
    traces: TraceBuffer
    recall: Recall
    nudger: Nudger
    kv: ActivationTier

    def close(self) -> None:
        self.recalls.stop()
        self.traces.stop()
        self.nudger.close()
        self.database.close()
        if self.redis is not None:
            self.redis.close()


def build_app(
    settings: Settings,
    *,
    embedder: Embedder | None = None,
    nudger: Nudger | None = None,
    application_name: str = "memos-api",
) -> App:
    """Parts for the servers that `settings` names. Connects lazily; `embedder` replaces the configured one.

    Without a `nudger` (the doors have one, see `workers.nudging`) new jobs wait for the sweeper.
    """
    nudger = nudger or NoNudger()
    database = Database(
        login_url(settings),
        settings,
        application_name=application_name,
        nudge=nudger.nudge,
        marks_key=lambda: keyring(settings).marks,
    )
    redis = Redis.from_url(settings.redis_url.get_secret_value()) if settings.redis_url else None
    embedder = embedder or embedder_of(settings)
    recalls, traces = RecallBuffer(database), TraceBuffer(database)
    return App(
        settings=settings,
        database=database,
        embedder=embedder,
        redis=redis,
        recalls=recalls,
        traces=traces,
        recall=Recall(database, embedder, recalls, KnownSpeakers(), traces),
        nudger=nudger,
        kv=ActivationTier(settings, database, data_dir=data_dir(settings), model_dir=model_dir(settings)),
    )


def embedder_of(settings: Settings) -> Embedder:
    return build_embedder(settings.embedder, cache_dir=model_dir(settings), threads=settings.encoder_threads)


def model_dir(settings: Settings) -> Path:
    return settings.model_dir or data_dir(settings) / "models"


def data_dir(settings: Settings) -> Path:
    return settings.data_dir or default_data_dir()


def login_url(settings: Settings) -> str:
    """What the API and workers log in with: the app role's own URL, or the one derived from the owner's."""
    if settings.app_database_url is not None:
        return settings.app_database_url.get_secret_value()
    if settings.database_url is None:
        raise Misconfigured(
            "no database: set DATABASE_URL, or use 'memos serve', which starts one in its data directory"
        )
    return app_url(settings.database_url.get_secret_value())
