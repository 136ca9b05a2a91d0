"""The servers a command needs: those the settings name, and for the others the embedded ones in the data directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

from pydantic import SecretStr
from redis import Redis, RedisError

from memos.embedded import EmbeddedPostgres, EmbeddedValkey, default_data_dir
from memos.embedded.service import EmbeddedService
from memos.errors import Misconfigured, Unavailable
from memos.settings import Settings

# What a part of the service is told; whatever the environment said of the same is replaced.
DATABASE_URL, REDIS_URL = "DATABASE_URL", "REDIS_URL"
BROKER_WITHIN_S = 5.0
_OTHER_NAMES = ("MEMOS_DATABASE_URL", "MEMOS_REDIS_URL")


class Servers:
    """PostgreSQL and Valkey for one data directory. Constructing it touches nothing."""

    def __init__(self, settings: Settings, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._settings = settings
        named = settings.database_url or settings.app_database_url
        self._postgres = None if named else EmbeddedPostgres(data_dir)
        self._valkey = None if settings.redis_url else EmbeddedValkey(data_dir)

    @property
    def embedded(self) -> list[EmbeddedService]:
        """Ours to start and stop; the database first."""
        return [server for server in (self._postgres, self._valkey) if server is not None]

    def start(self) -> None:
        """Start or adopt what is ours."""
        for server in self.embedded:
            server.start()

    def revive(self) -> list[str]:
        """Start again what has died; the titles of those."""
        dead = [server for server in self.embedded if server.pid() is None]
        for server in dead:
            server.start()
        return [server.title for server in dead]

    def stop(self) -> None:
        """Stop what is ours, unless another launcher uses it: the broker first, the truth last."""
        for server in reversed(self.embedded):
            server.stop()

    def settings(self) -> Settings:
        """Settings that name every server. Call after `start`."""
        urls: dict[str, object] = {"data_dir": self.data_dir}
        if self._postgres:
            urls["database_url"] = SecretStr(self._postgres.url())
        if self._valkey:
            urls["redis_url"] = SecretStr(self._valkey.url())
        return self._settings.model_copy(update=urls)

    def environment(self) -> dict[str, str]:
        """The environment of a part: this one, with the servers named. Secrets travel here, never on a command line."""
        named = self.settings()
        if named.database_url is None:
            raise Misconfigured(
                "MEMOS_APP_DATABASE_URL is set but DATABASE_URL, the owner's, is not: 'memos serve' migrates"
            )
        assert named.redis_url is not None  # noqa: S101 - named just now
        inherited = {name: value for name, value in os.environ.items() if name not in _OTHER_NAMES}
        return inherited | {
            DATABASE_URL: named.database_url.get_secret_value(),
            REDIS_URL: named.redis_url.get_secret_value(),
            "MEMOS_DATA_DIR": str(self.data_dir),
        }


def require_broker(url: str) -> None:
    """Raise `Unavailable` unless a Valkey or Redis answers at a URL, and `Misconfigured` when it is no URL of one.

    Without it the parts would wait for the broker, each in its own way, and nobody would say for what.
    """
    try:
        broker = Redis.from_url(url, socket_connect_timeout=BROKER_WITHIN_S, socket_timeout=BROKER_WITHIN_S)
    except ValueError:
        raise Misconfigured(
            "REDIS_URL is not the URL of a Valkey or Redis; write it like redis://host:6379/0"
        ) from None
    with broker:
        try:
            broker.ping()
        except RedisError as error:
            raise Unavailable(
                f"the broker that REDIS_URL names does not answer: {error} Start it or correct REDIS_URL, or unset it to "
                "have 'memos serve' start one of its own."
            ) from error


@contextmanager
def reachable(settings: Settings) -> Iterator[Settings]:
    """Settings that name every server, for as long as a command needs them.

    Embedded servers are adopted when they run, and else started from the data that is there and stopped afterwards.
    Raises `Misconfigured` when nothing has ever been set up.
    """
    data_dir = settings.data_dir or default_data_dir()
    servers = Servers(settings, data_dir)
    if servers.embedded and not all(server.home.is_dir() for server in servers.embedded):
        raise Misconfigured(
            f"nothing is set up in {data_dir} yet: run 'memos serve' first, name another --data-dir, or set "
            f"{DATABASE_URL} and {REDIS_URL} to servers of your own"
        )
    with ExitStack() as ending:
        ending.callback(servers.stop)
        servers.start()
        yield servers.settings()


@contextmanager
def owned(settings: Settings) -> Iterator[tuple[Settings, str]]:
    """The same, with the URL of the schema's owner; of the servers only the database is needed when it is named."""
    with nullcontext(settings) if settings.database_url else reachable(settings) as named:
        yield named, owner_url(named)


def owner_url(settings: Settings) -> str:
    """Raises `Misconfigured` where only the app's own login is known."""
    if settings.database_url is None:
        raise Misconfigured("set DATABASE_URL to the login that owns the schema: the app's own may not do this")
    return settings.database_url.get_secret_value()
