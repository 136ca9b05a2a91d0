"""The llama.cpp adapter against a server that keeps slots: a restore counts only when it was used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from memos.encoders.causal_lm import RestoreFailed
from memos.encoders.llamacpp_server import LlamaCppServer
from memos.errors import Invalid, KVRejected, Unavailable
from memos.rules.kv_address import tokens_digest
from tests.encoders.engine_servers import FakeLlamaCpp, served

PREFIX, SUFFIX = list(range(300)), [7, 8, 9]


@pytest.fixture
def backend(tmp_path: Path) -> FakeLlamaCpp:
    return FakeLlamaCpp(tmp_path)


@pytest.fixture
def server(backend: FakeLlamaCpp, tmp_path: Path) -> Iterator[LlamaCppServer]:
    with served(backend) as url, httpx.Client(base_url=url) as client:
        yield LlamaCppServer(client, tmp_path, weights_sha256="w" * 64)


def test_a_saved_prefix_is_restored_into_another_slot_and_used(server: LlamaCppServer, tmp_path: Path) -> None:
    saved = server.save(PREFIX, "a.bin")
    assert (saved.n_tokens, saved.profile.build, saved.profile.n_ctx) == (300, "b1-test", 4096)
    assert saved.n_bytes == (tmp_path / "a.bin").stat().st_size
    done = server.complete(saved, PREFIX, SUFFIX, max_new_tokens=4, slot=3)
    assert (done.text, done.prompt_tokens, done.cached_tokens) == ("xxxx", 303, 300)


def test_a_restore_the_server_ignores_is_an_error_that_carries_the_answer(
    server: LlamaCppServer, backend: FakeLlamaCpp
) -> None:
    saved = server.save(PREFIX, "a.bin")
    backend.forgets_restored = True
    with pytest.raises(RestoreFailed, match="0 of 300") as caught:
        server.complete(saved, PREFIX, SUFFIX, max_new_tokens=4)
    assert caught.value.completion is not None
    assert caught.value.completion.text == "xxxx"


def test_tokens_are_those_of_the_server_and_names_cannot_leave_the_folder(server: LlamaCppServer) -> None:
    assert server.tokenize("ab") == (97, 98)
    for name in ("../a.bin", "a/b.bin", ".bin", "a.txt", "", "a.bin\n", "a" * 101 + ".bin"):
        with pytest.raises(Invalid):
            server.save(PREFIX, name)


@pytest.mark.parametrize(
    "change",
    [
        {"build_info": "b2-test"},
        {"model_path": "/models/other.gguf"},
        {"chat_template": ""},
        {"default_generation_settings": {"n_ctx": 2048}},
    ],
)
def test_a_slot_file_of_another_configuration_is_refused(
    server: LlamaCppServer, backend: FakeLlamaCpp, change: dict[str, Any]
) -> None:
    saved = server.save(PREFIX, "a.bin")
    backend.props |= change
    with pytest.raises(KVRejected, match="this server is"):
        server.complete(saved, PREFIX, SUFFIX, max_new_tokens=4)


def test_a_slot_file_of_other_weights_under_the_same_path_is_refused(backend: FakeLlamaCpp, tmp_path: Path) -> None:
    with served(backend) as url, httpx.Client(base_url=url) as client:
        saved = LlamaCppServer(client, tmp_path, weights_sha256="v" * 64).save(PREFIX, "a.bin")
        with pytest.raises(KVRejected, match="this server is"):
            LlamaCppServer(client, tmp_path, weights_sha256="w" * 64).complete(saved, PREFIX, SUFFIX, max_new_tokens=4)


def test_a_slot_file_for_other_tokens_or_with_other_bytes_is_refused(server: LlamaCppServer, tmp_path: Path) -> None:
    saved = server.save(PREFIX, "a.bin")
    with pytest.raises(KVRejected, match="other tokens"):
        server.complete(saved, PREFIX[:-1], SUFFIX, max_new_tokens=4)
    with pytest.raises(KVRejected, match="other tokens"):
        server.complete(replace(saved, tokens_sha256=tokens_digest([1])), PREFIX, SUFFIX, max_new_tokens=4)
    with (tmp_path / "a.bin").open("a") as file:
        file.write(" ")
    with pytest.raises(KVRejected, match="changed"):
        server.complete(saved, PREFIX, SUFFIX, max_new_tokens=4)
    server.discard("a.bin")
    server.discard("a.bin")
    with pytest.raises(KVRejected, match="read"):
        server.complete(saved, PREFIX, SUFFIX, max_new_tokens=4)


def test_saving_less_than_the_prefix_is_a_failure(server: LlamaCppServer, backend: FakeLlamaCpp) -> None:
    backend.saves_at_most = 299
    with pytest.raises(Unavailable, match="299 of 300"):
        server.save(PREFIX, "a.bin")


def test_nothing_to_save_or_to_ask_is_refused(server: LlamaCppServer) -> None:
    with pytest.raises(Invalid):
        server.save([], "a.bin")
    saved = server.save(PREFIX, "a.bin")
    with pytest.raises(Invalid):
        server.complete(saved, PREFIX, [], max_new_tokens=4)


@pytest.mark.parametrize("props", [{}, {"build_info": 3, "default_generation_settings": {"n_ctx": 1}}, [], b"<html>"])
def test_a_server_that_does_not_describe_itself_is_unavailable(
    server: LlamaCppServer, backend: FakeLlamaCpp, props: Any
) -> None:
    backend.props = props
    with pytest.raises(Unavailable):
        server.profile()


def test_no_server_is_unavailable(tmp_path: Path) -> None:
    with httpx.Client(base_url="http://127.0.0.1:9") as client, pytest.raises(Unavailable, match="does not answer"):
        LlamaCppServer(client, tmp_path, weights_sha256="").profile()
