"""A part of `memos serve` ends with it, whatever ends it: also a kill that nothing can catch."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

PARENT = "MEMOS_PARENT_PID"
"""Names the process whose child this one is meant to be; unset when it was started by hand."""

_PR_SET_PDEATHSIG = 1
_POLL_S = 1.0


def die_with_parent() -> None:
    """Ask for SIGTERM when the parent dies. Call first thing, from the main thread.

    Linux tells the kernel; elsewhere a thread looks once a second. A parent that died before the call is noticed too.
    """
    if PARENT not in os.environ:
        return
    # Children of ours have another parent.
    parent = int(os.environ.pop(PARENT))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    else:
        threading.Thread(target=_watch, args=[parent], name="parent", daemon=True).start()
    if os.getppid() != parent:
        raise SystemExit("memos serve has ended")


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)
