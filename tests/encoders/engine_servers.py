"""Stand-ins for engines behind HTTP: a real socket, a real JSON body, and just enough of a llama.cpp server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol


class Answering(Protocol):
    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]: ...


@contextmanager
def served(backend: Answering, *, keeps_s: float | None = None, callers: list[Any] | None = None) -> Iterator[str]:
    """The base URL under which `backend` answers. It hangs up after each answer, or once a connection was idle for
    `keeps_s`; `callers` is told of each connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0" if keeps_s is None else "HTTP/1.1"
        timeout = keeps_s

        def setup(self) -> None:
            super().setup()
            if callers is not None:
                callers.append(self.client_address)

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, content = backend.answer(self.command, self.path, body)
            raw = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = _serve  # noqa: N815 - the names http.server looks for

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class FakeLlamaCpp:
    """Slots that remember tokens; a prompt reuses what it shares with its slot, unless windows forbid it."""

    def __init__(self, slot_folder: Path) -> None:
        self.folder = slot_folder
        self.slots: dict[int, list[int]] = {}
        self.props: dict[str, Any] = {
            "build_info": "b1-test",
            "model_path": "/models/tiny.gguf",
            "chat_template": "{{ messages }}",
            "default_generation_settings": {"n_ctx": 4096},
        }
        self.forgets_restored = False
        self.saves_at_most = 10**9

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if (method, path) == ("GET", "/props"):
            return 200, self.props
        if (method, path) == ("POST", "/tokenize"):
            return 200, {"tokens": list(body["content"].encode())}
        if (method, path) == ("POST", "/completion"):
            return 200, self._complete(body)
        if path.startswith("/slots/"):
            slot, _, action = path.removeprefix("/slots/").partition("?action=")
            return self._slot(int(slot), action, self.folder / body["filename"])
        return 404, {"error": "no such path"}

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt, held = body["prompt"], self.slots.get(body["id_slot"], [])
        shared = 0
        while shared < min(len(prompt) - 1, len(held)) and prompt[shared] == held[shared]:
            shared += 1
        if self.forgets_restored:
            shared = 0
        self.slots[body["id_slot"]] = list(prompt)
        answer = "x" * body["n_predict"]
        return {"content": answer, "timings": {"cache_n": shared, "prompt_n": len(prompt) - shared}}

    def _slot(self, slot: int, action: str, path: Path) -> tuple[int, Any]:
        if action == "save":
            path.write_text(json.dumps(self.slots.get(slot, [])))
            n_saved = min(len(self.slots.get(slot, [])), self.saves_at_most)
            return 200, {"id_slot": slot, "n_saved": n_saved, "n_written": path.stat().st_size}
        if action == "restore" and path.exists():
            self.slots[slot] = json.loads(path.read_text())
            return 200, {"id_slot": slot, "n_restored": len(self.slots[slot])}
        return 400, {"error": {"message": "Unable to restore slot"}}
