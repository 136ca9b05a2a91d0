"""What the README says is run, as a newcomer would paste it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from memos.embedded.processes import free_port
from tests.servers import reachable_root

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
KEY = "mk_a-key-for-the-readme-test"


def blocks(section: str) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def test_the_two_commands_are_make_targets() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    run, test = (block.strip() for block in blocks(README.split("## Use it")[0]))
    assert (run, test) == ("make serve", "make test")
    for command in (run, test, "make demo"):
        assert re.search(rf"^\s*{command}\s", listed, re.MULTILINE), command


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples use curl")
def test_the_examples_do_what_they_say() -> None:
    use = README.split("## Use it")[1].split("## Deploy it")[0]
    port = free_port(None)
    first, *rest = blocks(use)
    setup = first.splitlines()[-1]
    script = "\n".join(["set -euo pipefail", setup, *rest])
    with reachable_root() as root:
        environment = os.environ | {"MEMOS_OWNER_KEY": KEY, "MEMOS_EMBEDDER": "fake:64"}
        serve = [sys.executable, "-m", "memos.cli", "serve", "--port", str(port), "--data-dir", str(root)]
        with subprocess.Popen(serve, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL) as service:
            try:
                _wait(f"http://127.0.0.1:{port}/readyz")
                ran = subprocess.run(
                    ["bash", "-c", script],
                    check=False,
                    env=environment | {"MEMOS": f"http://127.0.0.1:{port}", "KEY": KEY},
                    capture_output=True,
                    text=True,
                    timeout=60,
                )
            finally:
                service.terminate()
                service.wait(60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    answers = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    found, changed, past = answers[2], answers[4], answers[5]
    assert found["items"][0]["content"].startswith("I moved to Porto")
    assert found["items"][0]["why"]
    assert changed["changed"][0]["after"]["content"] == "I moved to Braga in March."
    assert past["items"][0]["content"].startswith("I moved to Porto")
    assert answers[-1]["kind"] == "rollback"


def _wait(url: str) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < until, f"{url} does not answer"
        time.sleep(0.2)
