"""Reading LoCoMo-format files (Maharana et al., 2024: "Evaluating Very Long-Term Conversational Memory of LLM
Agents").

A conversation is a list of sessions between two speakers; a question names the turns that hold its answer by
dialogue id (`D3:11`). How a turn becomes a message is decided here: the first speaker is the `user`, the
second the `assistant`, the speaker is the `name`; a turn is stamped with its session's time plus one second
for each turn before it; a photo, of which a text service sees only the caption, is written out at the end of
the text ("... [shares a photo: caption]"), because a person who remembers the conversation remembers the
picture too. The caption also stays in the metadata.

Published copies of the data differ: evidence ids may be glued together ("D8:6; D9:17") or zero-padded
("D30:05"), so ids are searched for in the evidence, and those that name no turn are counted, not dropped in
silence.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "inference", 4: "single-hop"}
_SESSION = re.compile(r"session_(\d+)")
_EVIDENCE = re.compile(r"D(\d+):(\d+)")


@dataclass(frozen=True, slots=True)
class Turn:
    turn_id: str
    session_id: str
    speaker: str
    role: str
    content: str
    caption: str | None
    created_at: datetime

    def message(self) -> dict[str, Any]:
        """The body of one message, as API.md has it."""
        body: dict[str, Any] = {
            "role": self.role,
            "name": self.speaker,
            "content": self.content,
            "external_id": self.turn_id,
            "created_at": self.created_at.isoformat(),
        }
        if self.caption is not None:
            body["metadata"] = {"blip_caption": self.caption}
        return body


@dataclass(frozen=True, slots=True)
class Question:
    """`number` counts within its conversation; `label_error` says what is known to be wrong with it."""

    number: int
    text: str
    category: int
    evidence: frozenset[str]
    label_error: str | None


@dataclass(frozen=True, slots=True)
class Conversation:
    sample_id: str
    sessions: tuple[tuple[Turn, ...], ...]
    questions: tuple[Question, ...]
    unanswerable: int
    """Questions of a scored category whose label names no turn: nothing to find, so not asked."""
    unknown_evidence: int
    """Evidence ids that name no turn of the conversation."""

    @property
    def turns(self) -> list[Turn]:
        return [turn for session in self.sessions for turn in session]

    @property
    def asked_at(self) -> datetime:
        """The asker's clock: a day after the last turn, when "last week" still means something."""
        return max(turn.created_at for turn in self.turns) + timedelta(days=1)


def load(path: Path, *, captions: bool = True) -> list[Conversation]:
    """Every conversation of a file; TypeError or KeyError when it is not in the format."""
    samples = json.loads(path.read_text())
    if not isinstance(samples, list):
        raise TypeError(f"{path} holds no list of conversations")
    return [_conversation(sample, place, captions=captions) for place, sample in enumerate(samples)]


def session_time(text: str) -> datetime:
    """`1:56 pm on 8 May, 2023`, read as UTC because the data names no zone."""
    return datetime.strptime(text.strip(), "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC)


def transcript(conversation: Conversation) -> str:
    """The whole conversation as a prompt would hold it: what a context's size is compared with."""
    return "\n".join(f"{turn.speaker}: {turn.content}" for turn in conversation.turns)


def _conversation(sample: dict[str, Any], place: int, *, captions: bool) -> Conversation:
    spoken: dict[str, Any] = sample["conversation"]
    numbers = sorted(
        int(found[1]) for name in spoken if (found := _SESSION.fullmatch(name)) and isinstance(spoken[name], list)
    )
    sessions = tuple(_session(spoken, number, captions=captions) for number in numbers)
    known = {turn.turn_id for session in sessions for turn in session}
    questions: list[Question] = []
    counts: Counter[str] = Counter()
    for number, asked in enumerate(sample["qa"]):
        if asked["category"] not in CATEGORIES:
            continue
        named = {f"D{int(session)}:{int(turn)}" for session, turn in _EVIDENCE.findall(str(asked["evidence"]))}
        counts["unknown"] += len(named - known)
        evidence = frozenset(named & known)
        if not evidence:
            counts["unanswerable"] += 1
            continue
        error = asked.get("label_error")
        questions.append(Question(number, asked["question"], asked["category"], evidence, error))
    sample_id = str(sample.get("sample_id", place))
    return Conversation(sample_id, sessions, tuple(questions), counts["unanswerable"], counts["unknown"])


def _session(spoken: dict[str, Any], number: int, *, captions: bool) -> tuple[Turn, ...]:
    started = session_time(spoken[f"session_{number}_date_time"])
    turns = []
    for place, turn in enumerate(spoken[f"session_{number}"]):
        caption = turn.get("blip_caption")
        text = turn["text"]
        if caption and captions:
            text = f"{text} [shares a photo: {caption}]".strip()
        turns.append(
            Turn(
                turn_id=turn["dia_id"],
                session_id=f"session_{number}",
                speaker=turn["speaker"],
                role="user" if turn["speaker"] == spoken["speaker_a"] else "assistant",
                content=text,
                caption=caption,
                created_at=started + timedelta(seconds=place),
            )
        )
    return tuple(turns)
