"""One contract for every blob store; the filesystem's own promises below."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memos.errors import Invalid, NotFound, StorageFull, Unavailable
from memos.rules.access import Principal
from memos.store.blobs import READ_BYTES, BlobRef, BlobStore, FilesystemBlobs
from memos.store.postgres_blobs import PART_BYTES, PostgresBlobs
from memos.wiring import App

LATER = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture(params=["filesystem", "postgres"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobStore]:
    if request.param == "filesystem":
        yield FilesystemBlobs(tmp_path / "store")
        return
    app, owner = request.getfixturevalue("app"), request.getfixturevalue("owner")
    store = PostgresBlobs(app.database, owner.tenant_id)
    yield store
    for item in list(store.listing()):
        store.delete(item.ref)


def read(blobs: BlobStore, ref: BlobRef) -> bytes:
    with blobs.open(ref) as blob:
        return blob.read()


@given(parts=st.lists(st.binary(max_size=200), max_size=5))
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_put_comes_back_under_its_digest(blobs: BlobStore, parts: list[bytes]) -> None:
    ref = blobs.put("tenant-1", parts)
    assert ref == BlobRef("tenant-1", hashlib.sha256(b"".join(parts)).hexdigest())
    assert read(blobs, ref) == b"".join(parts)


def test_ranges(blobs: BlobStore) -> None:
    ref = blobs.put("t", [b"0123456789"])
    with blobs.open(ref) as blob:
        assert blob.n_bytes == 10
        assert blob.read(3, 6) == b"345"
        assert blob.read(8) == b"89"
        assert blob.read(8, 99) == b"89"
        assert blob.read(10) == b""
        assert blob.read(6, 3) == b""


def test_a_large_blob_is_read_in_steps(blobs: BlobStore) -> None:
    data = os.urandom(READ_BYTES + 1000)
    ref = blobs.put("t", [data[:100], data[100:]])
    with blobs.open(ref) as blob:
        steps = list(blob.steps(500))
        assert [len(step) for step in steps] == [READ_BYTES, 500]
        assert b"".join(steps) == data[500:]


def test_putting_twice_is_harmless_and_deleting_twice_is_told(blobs: BlobStore) -> None:
    ref = blobs.put("t", [b"same"])
    assert blobs.put("t", [b"same"]) == ref
    assert blobs.delete(ref)
    assert not blobs.delete(ref)
    with pytest.raises(NotFound), blobs.open(ref):
        pass


def test_owners_share_nothing_even_if_their_bytes_agree(blobs: BlobStore) -> None:
    mine, theirs = blobs.put("t1", [b"same"]), blobs.put("t2", [b"same"])
    assert blobs.delete(mine)
    assert read(blobs, theirs) == b"same"
    with pytest.raises(NotFound), blobs.open(mine):
        pass


def test_an_open_blob_outlives_its_deletion(blobs: BlobStore) -> None:
    ref = blobs.put("t", [b"0123456789"])
    with blobs.open(ref) as blob:
        first = blob.read(0, 5)
        blobs.delete(ref)
        assert first + blob.read(5) == b"0123456789"


def test_the_listing_finds_what_rows_forgot(blobs: BlobStore) -> None:
    refs = {blobs.put("t1", [b"a"]), blobs.put("t1", [b"bb"]), blobs.put("t2", [b"ccc"])}
    listed = list(blobs.listing())
    assert {item.ref for item in listed} == refs
    assert sorted(item.n_bytes for item in listed) == [1, 2, 3]
    assert all(abs(item.modified_at - datetime.now(UTC)) < timedelta(minutes=5) for item in listed)
    assert {item.ref.owner for item in blobs.listing("t1")} == {"t1"}
    assert list(blobs.listing("t")) == []


def test_a_write_that_fails_half_way_leaves_nothing(blobs: BlobStore) -> None:
    def parts() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionResetError("the sender went away")

    with pytest.raises(ConnectionResetError):
        blobs.put("t", parts())
    assert list(blobs.listing()) == []
    assert blobs.sweep(older_than=LATER) == 0


def test_many_writers_of_one_blob(blobs: BlobStore) -> None:
    data = os.urandom(100_000)
    threads = [threading.Thread(target=blobs.put, args=("t", [data])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (only,) = blobs.listing()
    assert read(blobs, only.ref) == data


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "-a", "a" * 65, "a\n", "ä"])
def test_an_owner_is_a_plain_name(blobs: BlobStore, name: str) -> None:
    with pytest.raises(Invalid):
        blobs.put(name, [b"x"])
    with pytest.raises(Invalid):
        list(blobs.listing(name))
    with pytest.raises(Invalid):
        BlobRef(name, "0" * 64)


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "../../etc/passwd", "G" * 64, "0" * 64 + "\n"])
def test_a_digest_is_a_digest(digest: str) -> None:
    with pytest.raises(Invalid):
        BlobRef("t", digest)


# -- PostgreSQL


def test_a_range_across_parts(app: App, owner: Principal) -> None:
    blobs = PostgresBlobs(app.database, owner.tenant_id)
    data = os.urandom(2 * PART_BYTES + 77)
    ref = blobs.put("parts", [data[:10], data[10:]])
    with blobs.open(ref) as blob:
        for start, end in (
            (PART_BYTES - 1, PART_BYTES + 1),
            (0, PART_BYTES),
            (2 * PART_BYTES, None),
            (5, 2 * PART_BYTES),
        ):
            assert blob.read(start, end) == data[start:end]
    assert blobs.delete(ref)


def test_another_tenant_finds_no_blob(app: App, owner: Principal, other_tenant: UUID) -> None:
    mine, theirs = (PostgresBlobs(app.database, tenant) for tenant in (owner.tenant_id, other_tenant))
    ref = mine.put("same-owner", [b"mine"])
    assert list(theirs.listing()) == []
    assert not theirs.delete(ref)
    with pytest.raises(NotFound), theirs.open(ref):
        pass
    assert read(mine, ref) == b"mine"


# -- The filesystem


@contextmanager
def files_no_larger_than(n_bytes: int) -> Iterator[None]:
    """A full disk, as far as a writer can tell: the kernel refuses to let any file grow beyond a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    blobs = FilesystemBlobs(tmp_path)
    kept = blobs.put("t", [b"small"])
    with files_no_larger_than(64_000), pytest.raises(StorageFull, match="no room") as caught:
        blobs.put("t", [bytes(50_000)] * 4)
    assert caught.value.status == 507
    assert [item.ref for item in blobs.listing()] == [kept]
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("room", ["size=64k", "nr_inodes=6"])
def test_on_a_file_system_without_room(tmp_path: Path, room: str) -> None:
    """For bytes, or for one more file or folder; what is there is read and deleted as ever."""
    root = tmp_path / "small"
    root.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", room, "tmpfs", str(root)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("only who may mount can have a file system this small")
    try:
        # The store's three folders and the two above a blob take five inodes, and its root one.
        blobs = FilesystemBlobs(root)
        with pytest.raises(StorageFull, match="no room"):
            for number in range(8):
                blobs.put(f"t{number}", [bytes([number]) * 20_000])
        kept = list(blobs.listing())
        assert list((root / "tmp").iterdir()) == []
        for item in kept:
            assert len(read(blobs, item.ref)) == 20_000
            assert blobs.delete(item.ref)
    finally:
        subprocess.run(["umount", str(root)], check=True)


def test_a_killed_writer_leaves_only_what_the_sweep_removes(tmp_path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from memos.store.blobs import FilesystemBlobs
def parts():
    yield bytes(10_000)
    os.kill(os.getpid(), signal.SIGKILL)
FilesystemBlobs(Path({str(tmp_path)!r})).put("t", parts())
"""
    died = subprocess.run([sys.executable, "-c", script], check=False)
    assert died.returncode == -signal.SIGKILL
    blobs = FilesystemBlobs(tmp_path)
    assert list(blobs.listing()) == []
    assert blobs.sweep(older_than=datetime.now(UTC) - timedelta(hours=1)) == 0
    assert blobs.sweep(older_than=LATER) == 1
    assert list((tmp_path / "tmp").iterdir()) == []


def test_nobody_else_may_read(tmp_path: Path) -> None:
    blobs = FilesystemBlobs(tmp_path / "store")
    blobs.put("t", [b"x"])
    for path in (tmp_path / "store").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0


def test_files_of_others_are_neither_listed_nor_collected(tmp_path: Path) -> None:
    blobs = FilesystemBlobs(tmp_path)
    ref = blobs.put("t", [b"x"])
    (tmp_path / "blobs" / "t" / ref.sha256[:2] / "notes.txt").write_text("hello")
    assert [item.ref for item in blobs.listing()] == [ref]


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Unavailable):
        FilesystemBlobs(tmp_path / "file" / "store")
