"""A headless Chromium, driven over its own protocol: enough to click through pages as a person would, and no more.

The browser is the system's; where there is none the tests that need it are skipped.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome-headless-shell")
PATIENCE_S = 20.0


def executable() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser with a profile of its own, gone at the end."""
    program = executable()
    assert program
    profile = tempfile.mkdtemp(prefix="memos-chromium-")
    process = subprocess.Popen(
        [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
         "--remote-debugging-port=0", f"--user-data-dir={profile}", "--no-first-run", "--disable-extensions",
         "--disable-background-networking", "--disable-component-update", "--force-color-profile=srgb", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        address = _address(Path(profile) / "DevToolsActivePort")
        with connect(address, max_size=None, open_timeout=PATIENCE_S) as socket:
            yield Browser(socket)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()
        shutil.rmtree(profile, ignore_errors=True)


def _address(file: Path) -> str:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        with suppress(FileNotFoundError, ValueError):
            port, path = file.read_text().splitlines()[:2]
            return f"ws://127.0.0.1:{port}{path}"
        time.sleep(0.05)
    raise AssertionError("the browser does not start")


class Browser:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self.messages: list[str] = []
        """Errors the page logged, among them whatever the content security policy stood against."""
        self.requested: list[str] = []
        self.asked: list[str] = []
        """Questions the page asked in a dialog; each is answered with yes."""
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def look(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """A window of this size, and how the person likes it."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = "dark" if dark else "light"
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, address: str) -> None:
        self.evaluate("window.__left = true")
        self.send("Page.navigate", url=address)
        self.wait("!window.__left && document.readyState === 'complete'")

    def evaluate(self, script: str) -> Any:
        """What an expression gives, awaited, as JSON."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            with suppress(AssertionError):
                if self.evaluate(f"Boolean({condition})"):
                    return
            time.sleep(0.03)
        raise AssertionError(f"never: {condition}")

    def click(self, selector: str) -> None:
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def fill(self, selector: str, value: str) -> None:
        self.evaluate(f"document.querySelector({json.dumps(selector)}).value = {json.dumps(value)}")

    def leave_by(self, selector: str) -> None:
        """Click on something that leads to another page, and wait for that."""
        self.evaluate("window.__left = true")
        self.click(selector)
        self.wait("!window.__left && document.readyState === 'complete'")

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            code = {"Tab": 9, "Enter": 13}[key]
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def screenshot(self, file: Path, *, whole: bool = False, quality: int | None = None) -> None:
        how: dict[str, Any] = {"format": "png"} if quality is None else {"format": "webp", "quality": quality}
        taken = self.send("Page.captureScreenshot", captureBeyondViewport=whole, **how)
        file.write_bytes(base64.b64decode(taken["data"]))

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._send(method, session=self._session, **parameters)

    def _send(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        number = self._post(method, session, parameters)
        while True:
            answer: dict[str, Any] = json.loads(self._socket.recv(timeout=PATIENCE_S))
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _post(self, method: str, session: str | None, parameters: dict[str, Any]) -> int:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        return self._number

    def _note(self, event: dict[str, Any]) -> None:
        told = event.get("params", {})
        match event.get("method"):
            case "Log.entryAdded" if told["entry"]["level"] == "error":
                self.messages.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
            case "Runtime.exceptionThrown":
                self.messages.append(str(told["exceptionDetails"]))
            case "Network.requestWillBeSent":
                self.requested.append(told["request"]["url"])
            case "Page.javascriptDialogOpening":
                self.asked.append(told["message"])
                self._post("Page.handleJavaScriptDialog", self._session, {"accept": True})
