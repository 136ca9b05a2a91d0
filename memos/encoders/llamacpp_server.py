"""Adapter for a llama.cpp server: a prefix kept as the server's own slot file, restored, and checked for being used.

    save      evaluate the prefix in a slot; POST /slots/{id}?action=save; hash the file
    complete  POST /slots/{id}?action=restore; POST /completion with prefix and suffix as token ids

A slot file holds for one build, model, context size and cache type; the server loads others without complaint and
answers wrongly or slowly. So everything that must agree is kept beside the file and compared before a restore, and
afterwards `timings.cache_n` must show that the prefix was taken from the cache: on models with sliding windows a
restore can succeed and the server still evaluate everything again.

Needs a server started with `--slot-save-path`, and that folder reachable from here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from memos.encoders.causal_lm import Completion, RestoreFailed
from memos.encoders.json_http import ask_json, count_in
from memos.errors import Invalid, KVRejected, Unavailable
from memos.rules.kv_address import canonical_json, tokens_digest

_NAME: Final = re.compile(r"[0-9a-z][0-9a-z_-]{0,99}\.bin")


@dataclass(frozen=True, slots=True)
class ServerProfile:
    """What must be the same for a slot file to mean the same.

    Two things a server does not say and an operator has to: the digest of the model file, since a path may come to
    hold another one, and the types of keys and values (`--cache-type-k`, `--cache-type-v`).
    """

    build: str
    model: str
    weights_sha256: str
    n_ctx: int
    kv_types: str
    template_sha256: str


@dataclass(frozen=True, slots=True)
class SlotFile:
    """A saved slot: where it lies, what it holds and what it fits."""

    name: str
    sha256: str
    n_bytes: int
    n_tokens: int
    tokens_sha256: str
    profile: ServerProfile


class LlamaCppServer:
    """One server. `client` has the server's base URL and a timeout fit for a prefill."""

    def __init__(
        self, client: httpx.Client, slot_folder: Path, *, weights_sha256: str, kv_types: str = "f16,f16"
    ) -> None:
        self._client = client
        self._folder = slot_folder
        self._weights_sha256 = weights_sha256
        self._kv_types = kv_types

    def profile(self) -> ServerProfile:
        """Raises Unavailable when the server is away or does not describe itself."""
        props = ask_json(self._client, "GET", "/props")
        n_ctx = count_in(props, "default_generation_settings", "n_ctx")
        if n_ctx is None or not isinstance(props.get("build_info"), str):
            raise Unavailable("the llama.cpp server does not say its build and context size")
        return ServerProfile(
            build=props["build_info"],
            model=str(props.get("model_path", "")),
            weights_sha256=self._weights_sha256,
            n_ctx=n_ctx,
            kv_types=self._kv_types,
            template_sha256=hashlib.sha256(str(props.get("chat_template", "")).encode()).hexdigest(),
        )

    def profile_key(self) -> str:
        """Hex SHA-256 over the profile: slot files of servers with other keys are not interchangeable."""
        return hashlib.sha256(canonical_json(asdict(self.profile())).encode()).hexdigest()

    def tokenize(self, text: str, *, special: bool = False) -> tuple[int, ...]:
        """Token ids of the server's tokenizer, nothing added around them; marks are read only if `special`."""
        body = {"content": text, "add_special": False, "parse_special": special}
        tokens = ask_json(self._client, "POST", "/tokenize", body).get("tokens")
        if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
            raise Unavailable("the llama.cpp server did not answer with token ids")
        return tuple(tokens)

    def save(self, token_ids: Sequence[int], name: str, *, slot: int = 0) -> SlotFile:
        """Evaluate a prefix and keep it as the slot file `name`.

        Raises:
            Invalid: no tokens, or a name that is not a plain `*.bin` file name.
            Unavailable: the server failed, or saved less than the prefix.
        """
        if not token_ids:
            raise Invalid("an empty prefix needs no slot file")
        profile = self.profile()
        self._evaluate(token_ids, slot, n_predict=0)
        saved = self._slot_action("save", name, slot)
        n_saved = count_in(saved, "n_saved") or 0
        if n_saved < len(token_ids):
            raise Unavailable(f"the llama.cpp server saved {n_saved} of {len(token_ids)} tokens")
        sha256, n_bytes = self._digest(name)
        return SlotFile(name, sha256, n_bytes, len(token_ids), tokens_digest(token_ids), profile)

    def complete(
        self,
        saved: SlotFile,
        prefix: Sequence[int],
        suffix: Sequence[int],
        *,
        max_new_tokens: int,
        slot: int = 0,
    ) -> Completion:
        """Restore a slot file and go on from it, greedily.

        Raises:
            KVRejected: the file was changed, or belongs to other tokens, another build, model or configuration.
            RestoreFailed: the server answered without using the restored prefix; carries the answer.
            Unavailable: the server failed.
        """
        if not suffix:
            raise Invalid("something has to follow the prefix")
        if saved.tokens_sha256 != tokens_digest(prefix) or saved.n_tokens != len(prefix):
            raise KVRejected(f"slot file {saved.name} holds other tokens")
        profile = self.profile()
        if profile != saved.profile:
            raise KVRejected(f"slot file {saved.name} was saved by {saved.profile}, this server is {profile}")
        if self._digest(saved.name) != (saved.sha256, saved.n_bytes):
            raise KVRejected(f"slot file {saved.name} was changed")
        restored = count_in(self._slot_action("restore", saved.name, slot), "n_restored") or 0
        answer = self._evaluate([*prefix, *suffix], slot, n_predict=max_new_tokens)
        cached = count_in(answer, "timings", "cache_n")
        completion = Completion(str(answer.get("content", "")), len(prefix) + len(suffix), cached)
        if restored < len(prefix) or cached is None or cached < len(prefix):
            raise RestoreFailed(
                f"the llama.cpp server restored {restored} and used {cached} of {len(prefix)} tokens; "
                "models with sliding windows need --swa-full",
                completion=completion,
            )
        return completion

    def answer(self, token_ids: Sequence[int], *, max_new_tokens: int, slot: int = 0) -> Completion:
        """Without any file: the server evaluates what its slot does not hold already."""
        answer = self._evaluate(token_ids, slot, n_predict=max_new_tokens)
        return Completion(str(answer.get("content", "")), len(token_ids), count_in(answer, "timings", "cache_n"))

    def contents(self, saved: SlotFile) -> bytes:
        """The bytes of a saved file. Raises KVRejected when it cannot be read, or was changed since."""
        try:
            data = self._path(saved.name).read_bytes()
        except OSError as error:
            raise KVRejected(f"slot file {saved.name} cannot be read: {error}") from error
        if hashlib.sha256(data).hexdigest() != saved.sha256:
            raise KVRejected(f"slot file {saved.name} was changed")
        return data

    def adopt(self, name: str, data: bytes, token_ids: Sequence[int]) -> SlotFile:
        """Put a file that was kept elsewhere where the server finds it; whole or not at all. The caller has compared
        its profile and its digest.

        Raises:
            Unavailable: the folder cannot be written.
        """
        path, profile = self._path(name), self.profile()
        draft = path.with_suffix(".part")
        try:
            draft.write_bytes(data)
            draft.replace(path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise Unavailable(f"slot file {name} cannot be written: {error}") from error
        digest = hashlib.sha256(data).hexdigest()
        return SlotFile(name, digest, len(data), len(token_ids), tokens_digest(token_ids), profile)

    def discard(self, name: str) -> None:
        """Delete a slot file; one that is gone already is fine."""
        self._path(name).unlink(missing_ok=True)

    def _evaluate(self, token_ids: Sequence[int], slot: int, *, n_predict: int) -> dict[str, Any]:
        body = {
            "prompt": list(token_ids),
            "id_slot": slot,
            "cache_prompt": True,
            "n_predict": n_predict,
            "temperature": 0.0,
            "stream": False,
        }
        return ask_json(self._client, "POST", "/completion", body)

    def _slot_action(self, action: str, name: str, slot: int) -> dict[str, Any]:
        body = {"filename": self._path(name).name}
        return ask_json(self._client, "POST", f"/slots/{slot}?action={action}", body)

    def _digest(self, name: str) -> tuple[str, int]:
        path = self._path(name)
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size
        except OSError as error:
            raise KVRejected(f"slot file {name} cannot be read: {error}") from error

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise Invalid(f"{name!r} is not a name for a slot file")
        return self._folder / name
