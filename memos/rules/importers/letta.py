"""Letta: an agent file (`.af`): what the agents keep in mind, what was said to them, and the files they were given.

Two shapes: the present one names `agents`, `blocks`, `files` side by side, an agent pointing at its blocks; the first one is
the agent itself, with `core_memory` and `messages` inside. Blocks become profiles, messages turns, files passages. Tools,
prompts and model settings make an agent run; they are not memory, and are skipped by name. An agent file holds no archival
memory: where a list of passages is found anyway it is taken.
See github.com/letta-ai/agent-file and `letta/schemas/agent_file.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from memos.rules.chunking import passages
from memos.rules.importers.foreign import Foreign, moment, present, text_of

# The tool by which older agents speak: what they said stands in its argument.
_SPEAKING: Final = "send_message"
_NOT_MEMORY: Final = ("tools", "mcp_servers", "groups", "sources", "skills")


def read(values: list[Any]) -> Iterator[Foreign]:
    for value in values:
        if not isinstance(value, Mapping):
            yield Foreign.fault("file", "is no agent file: it holds no JSON object")
        elif isinstance(value.get("agents"), list):
            yield from _whole(value)
        elif isinstance(value.get("core_memory"), list) or isinstance(value.get("messages"), list):
            yield from _agent(value, _name(value, 1), _listed(value, "core_memory"))
        else:
            yield Foreign.fault("file", "is no agent file: it has neither 'agents' nor 'core_memory' and 'messages'")


def _whole(value: Mapping[str, Any]) -> Iterator[Foreign]:
    blocks = {str(b.get("id")): b for b in _listed(value, "blocks") if isinstance(b, Mapping)}
    owned: set[str] = set()
    for place, agent in enumerate(_listed(value, "agents"), start=1):
        if not isinstance(agent, Mapping):
            yield Foreign.fault(f"agent {place}", "is no object")
            continue
        mine = [str(block_id) for block_id in _listed(agent, "block_ids")]
        owned.update(mine)
        inline = _listed(agent, "memory_blocks")
        yield from _agent(agent, _name(agent, place), [blocks[b] for b in mine if b in blocks] + inline)
    for block_id, block in blocks.items():
        if block_id not in owned:
            yield _block(block, "shared", 1)
    for place, file in enumerate(_listed(value, "files"), start=1):
        yield from _file(file, place)
    for what in _NOT_MEMORY:
        if there := _listed(value, what):
            yield Foreign.skip(what, f"{len(there)} {what.replace('_', ' ')}: no memory")


def _agent(agent: Mapping[str, Any], name: str, blocks: list[Any]) -> Iterator[Foreign]:
    for place, block in enumerate(blocks, start=1):
        yield _block(block, name, place)
    for place, message in enumerate(_listed(agent, "messages"), start=1):
        yield _message(message, name, place)
    for key in ("archival_memory", "passages"):
        for place, passage in enumerate(_listed(agent, key), start=1):
            yield _passage(passage, name, place)


def _block(block: Any, agent: str, place: int) -> Foreign:
    if not isinstance(block, Mapping):
        return Foreign.fault(f"block {place}", "is no object")
    label = text_of(block.get("label")) or f"block {place}"
    name = f"block {label}"
    text = text_of(block.get("value"))
    if text is None:
        return Foreign.skip(name, "is empty")
    return Foreign(
        name,
        {
            "kind": "profile",
            "content": text,
            "external_id": f"letta:{agent}:{label}",
            "title": label,
            "tags": [label[:100]],
            "metadata": {"letta": present({"agent": agent, "description": block.get("description")})},
        },
    )


def _message(message: Any, agent: str, place: int) -> Foreign:
    if not isinstance(message, Mapping):
        return Foreign.fault(f"message {place}", "is no object")
    name = f"message {message.get('id') or place}"
    role = message.get("role")
    if role not in {"user", "assistant"}:
        return Foreign.skip(name, f"of the role {role!r}: nobody said it")
    text = _said(message)
    if text is None:
        return Foreign.skip(name, "holds no text")
    try:
        created_at = moment(message.get("created_at"))
    except ValueError as error:
        return Foreign.fault(name, f"'created_at' {error}")
    return Foreign(
        name,
        present(
            {
                "kind": "turn",
                "content": text,
                "session_id": f"letta:{agent}",
                "external_id": f"letta:{message['id']}" if message.get("id") else None,
                "role": role,
                "name": text_of(message.get("name")),
                "created_at": created_at,
            }
        ),
    )


def _said(message: Mapping[str, Any]) -> str | None:
    """What was said: the text parts, or what the agent passed to its speaking tool."""
    content = message.get("content", message.get("text"))
    parts = content if isinstance(content, list) else [content]
    texts = [t for part in parts if (t := text_of(part.get("text") if isinstance(part, Mapping) else part))]
    for call in _listed(message, "tool_calls"):
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping) and function.get("name") == _SPEAKING:
            # The text beside it is what the agent thought, not what it said.
            return _argument(function.get("arguments")) or None
    return _unwrapped("\n".join(texts)) if texts else None


def _argument(arguments: object) -> str | None:
    try:
        parsed = json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError):
        return None
    return text_of(parsed.get("message")) if isinstance(parsed, Mapping) else None


def _unwrapped(text: str) -> str | None:
    """Messages of users are packed with their time into JSON; heartbeats and logins are packed the same way."""
    if not text.startswith("{"):
        return text
    try:
        packed = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if not isinstance(packed, Mapping) or "type" not in packed:
        return text
    return text_of(packed.get("message")) if packed["type"] == "user_message" else None


def _file(file: Any, place: int) -> Iterator[Foreign]:
    if not isinstance(file, Mapping):
        yield Foreign.fault(f"file {place}", "is no object")
        return
    title = text_of(file.get("file_name")) or text_of(file.get("original_file_name")) or f"file {place}"
    text = text_of(file.get("content"))
    if text is None:
        yield Foreign.skip(f"file {title}", "without its content")
        return
    source = f"letta:{file.get('id') or title}"
    for number, piece in enumerate((p for p in passages(text) if p.strip()), start=1):
        yield Foreign(
            f"file {title}, passage {number}",
            {"kind": "passage", "content": piece, "title": title, "source": source, "external_id": source,
             "session_id": source},
        )  # fmt: skip


def _passage(passage: Any, agent: str, place: int) -> Foreign:
    name = f"archival memory {place}"
    text = text_of(passage.get("text")) if isinstance(passage, Mapping) else text_of(passage)
    if text is None:
        return Foreign.fault(name, "has no 'text'")
    try:
        created_at = moment(passage.get("created_at")) if isinstance(passage, Mapping) else None
    except ValueError as error:
        return Foreign.fault(name, f"'created_at' {error}")
    return Foreign(
        name, present({"kind": "passage", "content": text, "session_id": f"letta:{agent}:archival",
                       "created_at": created_at, "tags": ["archival"]})
    )  # fmt: skip


def _name(agent: Mapping[str, Any], place: int) -> str:
    return text_of(agent.get("name")) or text_of(agent.get("id")) or f"agent {place}"


def _listed(value: Mapping[str, Any], key: str) -> list[Any]:
    found = value.get(key)
    return found if isinstance(found, list) else []
