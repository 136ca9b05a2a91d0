"""Reading LongMemEval files (Wu et al., 2024: "LongMemEval: Benchmarking Chat Assistants on Long-Term
Interactive Memory").

Each question brings a haystack of its own: dated chat sessions, some of which hold turns marked `has_answer`.
Sessions are fed in the order of their dates, as they would have happened, whatever their order in the file. A
session that stands in a haystack twice is two sessions of the service and one of the data set. Ids ending in
`_abs` ask for abstention: there is nothing to find, so they are not scored.
"""

from __future__ import annotations

import json
import lzma
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Turn:
    """`session_id` is the data set's name of the session this turn belongs to."""

    turn_id: str
    session_id: str
    role: str
    content: str
    has_answer: bool
    created_at: datetime

    def message(self) -> dict[str, Any]:
        return {
            "role": self.role,
            "content": self.content,
            "external_id": self.turn_id,
            "created_at": self.created_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Question:
    """`sessions` are (session id for the service, its turns), oldest first."""

    question_id: str
    question_type: str
    text: str
    asked_at: datetime
    sessions: tuple[tuple[str, tuple[Turn, ...]], ...]
    answer_sessions: frozenset[str]
    answer_turns: frozenset[str]
    empty_turns: int
    """Turns without text, which nobody can remember: not posted."""

    @property
    def abstains(self) -> bool:
        return self.question_id.endswith("_abs")

    @property
    def turns(self) -> list[Turn]:
        return [turn for _, session in self.sessions for turn in session]


def load(path: Path) -> list[Question]:
    """Every question of a .json or .json.xz file; TypeError or KeyError when it is not in the format."""
    text = lzma.decompress(path.read_bytes()).decode() if path.suffix == ".xz" else path.read_text()
    entries = json.loads(text)
    if not isinstance(entries, list):
        raise TypeError(f"{path} holds no list of questions")
    return [_question(entry) for entry in entries]


def chat_time(text: str) -> datetime:
    """`2023/05/30 (Tue) 22:42`, read as UTC because the data names no zone."""
    return datetime.strptime(text.strip(), "%Y/%m/%d (%a) %H:%M").replace(tzinfo=UTC)


def _question(entry: dict[str, Any]) -> Question:
    haystack = sorted(
        zip(
            map(chat_time, entry["haystack_dates"]),
            entry["haystack_session_ids"],
            entry["haystack_sessions"],
            strict=True,
        ),
        key=lambda dated: dated[0],
    )
    seen: Counter[str] = Counter()
    sessions = []
    empty = 0
    for started, session_id, spoken in haystack:
        seen[session_id] += 1
        service_id = session_id if seen[session_id] == 1 else f"{session_id}~{seen[session_id]}"
        turns = tuple(
            Turn(
                turn_id=f"{service_id}:{place}",
                session_id=session_id,
                role=turn["role"],
                content=turn["content"],
                has_answer=bool(turn.get("has_answer")),
                created_at=started + timedelta(seconds=place),
            )
            for place, turn in enumerate(spoken)
            if turn["content"].strip()
        )
        empty += len(spoken) - len(turns)
        sessions.append((service_id, turns))
    return Question(
        question_id=entry["question_id"],
        question_type=entry["question_type"],
        text=entry["question"],
        asked_at=chat_time(entry["question_date"]),
        sessions=tuple(sessions),
        answer_sessions=frozenset(entry["answer_session_ids"]),
        answer_turns=frozenset(turn.turn_id for _, session in sessions for turn in session if turn.has_answer),
        empty_turns=empty,
    )
