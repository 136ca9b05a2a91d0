"""The one composition root: settings in, connected parts out. Nothing is built on import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from memos.cache.nudge import NoNudger, Nudger
from memos.cache.rate_limits import RateLimiter
from memos.embedded import default_data_dir
from memos.encoders.embedder import Embedder, build_embedder
from memos.encoders.padded_embedder import PaddedEmbedder
from memos.errors import Misconfigured
from memos.services.known_speakers import KnownSpeakers
from memos.services.kv_tier import ActivationTier
from memos.services.read_log import ReadLog
from memos.services.recall import Recall
from memos.services.recall_buffer import RecallBuffer
from memos.services.signing import keyring
from memos.services.spaces import Spaces
from memos.services.trace_buffer import TraceBuffer
from memos.settings import Settings
from memos.store.engine import Database
from memos.store.schema import app_url

REDIS_CONNECT_TIMEOUT_S = 1.0
REDIS_TIMEOUT_S = 2.0


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
    reads: ReadLog
    limiter: RateLimiter
    kv: ActivationTier
    spaces: Spaces

    def close(self) -> None:
        self.recalls.stop()
        self.traces.stop()
        self.reads.stop()
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
    redis = _redis(settings)
    embedder = embedder or embedder_of(settings)
    recalls, traces, reads = RecallBuffer(database), TraceBuffer(database), ReadLog(database)
    database.reader = reads.note
    spaces = Spaces(database, embedder, lambda name: embedder_of(settings, name))
    return App(
        settings=settings,
        database=database,
        embedder=embedder,
        redis=redis,
        recalls=recalls,
        traces=traces,
        recall=Recall(database, embedder, recalls, KnownSpeakers(), traces, spaces),
        nudger=nudger,
        reads=reads,
        limiter=RateLimiter(redis),
        kv=ActivationTier(settings, database, data_dir=data_dir(settings), model_dir=model_dir(settings)),
        spaces=spaces,
    )


def _redis(settings: Settings) -> Redis | None:
    """Valkey is a help, not a need: whoever asks it waits no longer than this and asks once."""
    if settings.redis_url is None:
        return None
    return Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_connect_timeout=REDIS_CONNECT_TIMEOUT_S,
        socket_timeout=REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )


def embedder_of(settings: Settings, name: str | None = None) -> Embedder:
    """The configured embedder, as wide as the database's vectors, or another one by its name."""
    model = build_embedder(name or settings.embedder, cache_dir=model_dir(settings), threads=settings.encoder_threads)
    if name is not None or settings.vector_width in (None, model.dimensions):
        return model
    return PaddedEmbedder(model, settings.vector_width)


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


WORKER_POOL_SIZE = 4
"""One job at a time holds one connection, the renewal of its lease a second; the others are for bursts."""


def connections_of(settings: Settings) -> int:
    """Database connections that one machine's processes may open at most: the API's pools and feeds, one worker, and a
    few for the console."""
    return settings.api_processes * (settings.pool_size + 1) + WORKER_POOL_SIZE + 3
