"""Episodes: what each topic of a session was about, and what a period of sessions was.

Only sessions whose texts have changed since their episodes were written are read again. The sentences of a summary stand
for themselves in the vectors of the turns they come from, which are stored already, so summarising embeds nothing but
its results. With a language model the summary is in its words, if they pass the same checks; else it is extractive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

import numpy as np

from memos.encoders.llm import LanguageModel
from memos.errors import Unavailable
from memos.rules.consolidation import Cited, Proposal, judge
from memos.rules.episodes import DEFAULT_POLICY, SessionSpan, Topic, group_periods, split_topics
from memos.rules.grounding import support
from memos.rules.header import Kind, normalised
from memos.rules.summarise import Candidate, SummaryPolicy, candidates_of, fact_coverage, summarise
from memos.services.model_reader import known_from
from memos.services.reader import Text
from memos.store import derivations, memories
from memos.store.cubes import View
from memos.store.derivations import Covered, SessionSize
from memos.store.memories import Version
from memos.store.transaction import Transaction

CountTokens = Callable[[str], int]
MIN_TURNS: Final = DEFAULT_POLICY.min_turns
"""Shorter sessions are their own summary."""
EPISODE_TOKENS: Final = 160
PERIOD_TOKENS: Final = 240
MODEL_TOKENS: Final = 400

INSTRUCTIONS: Final = """Summarise the conversation below in at most six plain sentences for somebody who will have to
answer questions about it later. Keep names, numbers, dates, decisions and preferences exactly as they were said. Leave out
greetings. Say nothing that is not there. Answer with the summary only."""


@dataclass(frozen=True, slots=True)
class Session:
    """One session to be summarised: its turns in order, their vectors [n, d], and the facts made from each."""

    session_id: str
    turns: Sequence[Version]
    vectors: np.ndarray
    facts: Mapping[UUID, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Episodes:
    """What to read for the episodes of a cube. `kept` are those that stand, `stale` those whose session has changed."""

    sizes: Sequence[SessionSize]
    changed: Sequence[Session]
    kept: Sequence[Covered]
    stale: Sequence[Covered]
    periods: Sequence[Covered]
    texts: Mapping[UUID, str]
    vectors: Mapping[int, np.ndarray]


def read(tx: Transaction, view: View) -> Episodes:
    """The sessions that need new episodes, and the episodes there are."""
    sizes = [size for size in derivations.sessions(tx, view) if len(size.contents) >= MIN_TURNS]
    made = derivations.made(tx, view, [Kind.EPISODE])
    by_session: dict[str, list[Covered]] = {}
    for episode in made:
        if episode.external_id.startswith("episode/") and episode.session_id is not None:
            by_session.setdefault(episode.session_id, []).append(episode)
    current = {
        size.session_id
        for size in sizes
        if frozenset().union(*(e.contents for e in by_session.get(size.session_id, ()))) == size.contents
    }
    changed = [size.session_id for size in sizes if size.session_id not in current]
    kept = [e for name in current for e in by_session[name]]
    return Episodes(
        sizes=sizes,
        changed=_sessions(tx, view, changed),
        kept=kept,
        stale=[e for name, episodes in by_session.items() if name not in current for e in episodes],
        periods=[e for e in made if e.external_id.startswith("period/")],
        texts={i: row.text or "" for i, row in memories.get_many(tx, view, [e.memory_id for e in kept]).items()},
        vectors=derivations.vectors(tx, [e.content_id for e in kept]),
    )


def _sessions(tx: Transaction, view: View, names: Sequence[str]) -> list[Session]:
    found = []
    for name, turns in derivations.turns(tx, view, names).items():
        vectors = derivations.vectors(tx, [turn.content_id for turn in turns if turn.content_id])
        seen = [turn for turn in turns if turn.content_id in vectors]
        facts = derivations.facts_from(tx, view, [turn.memory_id for turn in seen])
        if seen:
            found.append(Session(name, seen, np.stack([vectors[turn.content_id or 0] for turn in seen]), facts))
    return found


@dataclass(slots=True)
class Summariser:
    """Writes summaries. `model` may be absent; once it does not answer it is not asked again."""

    count_tokens: CountTokens
    min_coverage: float
    model: LanguageModel | None = None
    by_model: int = 0
    refused: int = 0
    _silent: bool = field(default=False, init=False)

    def episodes(self, session: Session) -> list[Proposal]:
        """Level one: an episode per topic of a session."""
        topics = split_topics(session.vectors)
        return [self._episode(session, topic, place) for place, topic in enumerate(topics)]

    def periods(
        self, found: Episodes, fresh: Mapping[str, Proposal], vectors: Mapping[str, np.ndarray]
    ) -> tuple[list[Proposal], list[Covered]]:
        """Level two: an episode per period of two sessions or more, and the periods that are no longer any.

        `fresh` are the proposals of level one by external id, `vectors` those of their texts.
        """
        kept = {episode.external_id: episode for episode in found.kept}
        parts_of: dict[str, list[str]] = {}
        for name in sorted({*kept, *fresh}, key=_place):
            parts_of.setdefault(name.split("/", 1)[1].rsplit("/", 1)[0], []).append(name)
        spans = [SessionSpan(s.session_id, s.begins_at, s.ends_at) for s in found.sizes if s.session_id in parts_of]
        known = {period.external_id: period for period in found.periods}
        proposals: list[Proposal] = []
        wanted: set[str] = set()
        for sessions in group_periods(spans):
            if len(sessions) < 2:
                continue
            name = f"period/{sessions[0]}"
            wanted.add(name)
            parts = [part for session in sessions for part in parts_of[session]]
            covered = frozenset((kept[p].memory_id, kept[p].content_id) for p in parts if p in kept)
            if not any(p in fresh for p in parts) and name in known and known[name].contents == covered:
                continue
            proposals.append(self._period(found, name, sessions, parts, fresh, vectors))
        return proposals, [period for period in found.periods if period.external_id not in wanted]

    def _episode(self, session: Session, topic: Topic, place: int) -> Proposal:
        span = slice(topic.first, topic.last + 1)
        turns = session.turns[span]
        speakers = [turn.name or turn.role or "" for turn in turns]
        facts = list(dict.fromkeys(fact for turn in turns for fact in session.facts.get(turn.memory_id, ())))
        proposal = Proposal(
            kind=Kind.EPISODE,
            external_id=f"episode/{session.session_id}/{place}",
            title=_title(speakers, turns[0], turns[-1]),
            text="",
            created_at=turns[-1].created_at,
            valid_from=turns[0].created_at,
            session_id=session.session_id,
            cited=[cited(turn) for turn in turns],
            material=[*(turn.text or "" for turn in turns), *dict.fromkeys(speakers), *facts],
            facts=facts,
            metadata={"level": 1, "turns": len(turns)},
        )
        texts = [turn.text or "" for turn in turns]
        lines = [f"{speaker}: {text}" for speaker, text in zip(speakers, texts, strict=True)]
        if self.model is not None:
            # A model may say when something was; what is quoted says it as it was said.
            people = tuple(dict.fromkeys(speakers))
            known = [line for turn in turns for line in known_from(Text(turn, people))]
            written = self._by_model(replace(proposal, material=[*known, *facts]), lines)
            if written is not None:
                return written
        return self._extracted(proposal, texts, speakers, session.vectors[span], EPISODE_TOKENS)

    def _period(
        self,
        found: Episodes,
        name: str,
        sessions: Sequence[str],
        parts: Sequence[str],
        fresh: Mapping[str, Proposal],
        vectors: Mapping[str, np.ndarray],
    ) -> Proposal:
        kept = {episode.external_id: episode for episode in found.kept}
        texts = [fresh[p].text if p in fresh else found.texts[kept[p].memory_id] for p in parts]
        rows = [vectors[p] if p in fresh else found.vectors[kept[p].content_id] for p in parts]
        spans = [size for size in found.sizes if size.session_id in set(sessions)]
        begins, ends = min(s.begins_at for s in spans), max(s.ends_at for s in spans)
        proposal = Proposal(
            kind=Kind.EPISODE,
            external_id=name,
            title=f"{begins:%Y-%m-%d} to {ends:%Y-%m-%d}",
            text="",
            created_at=ends,
            valid_from=begins,
            parts=parts,
            material=texts,
            metadata={"level": 2, "sessions": len(sessions)},
        )
        written = self._by_model(proposal, texts)
        return written or self._extracted(proposal, texts, (), np.stack(rows), PERIOD_TOKENS)

    def _extracted(
        self, proposal: Proposal, texts: Sequence[str], speakers: Sequence[str], vectors: np.ndarray, tokens: int
    ) -> Proposal:
        """The sentences that say most, and enough of the facts."""
        # What was said on three days is told once.
        sentences = list({normalised(c.text): c for c in reversed(candidates_of(texts, speakers))}.values())[::-1]
        if not sentences:
            # Nothing but questions: they are what was said.
            return replace(proposal, text=" ".join(texts)[:2_000])
        rows = np.stack([vectors[sentence.source] for sentence in sentences])
        chosen = summarise(sentences, rows, self.count_tokens, SummaryPolicy(max_tokens=tokens)).chosen
        return replace(proposal, text=self._covering(chosen, sentences, proposal.facts))

    def _covering(self, chosen: Sequence[Candidate], sentences: Sequence[Candidate], facts: Sequence[str]) -> str:
        """The chosen sentences, and those that say what too many facts say; at last the facts themselves."""
        kept = list(chosen)
        for fact in facts:
            if fact_coverage(_told(kept), facts) >= self.min_coverage:
                return _told(kept)
            best = max(sentences, key=lambda sentence: (support(fact, [_told([sentence])]), -sentence.order))
            if best not in kept:
                kept.append(best)
        text = _told(kept)
        for fact in facts:
            if fact_coverage(text, facts) >= self.min_coverage:
                break
            text = f"{text} {fact}"
        return text

    def _by_model(self, proposal: Proposal, lines: Sequence[str]) -> Proposal | None:
        """The model's summary if there is one that passes the checks."""
        if self.model is None or self._silent:
            return None
        try:
            said = self.model.answer(INSTRUCTIONS, "\n".join(lines), max_tokens=MODEL_TOKENS)
        except Unavailable:
            self._silent = True
            return None
        written = replace(proposal, text=" ".join(said.text.split()), writer=f"llm:{self.model.name}")
        if judge(written, self.min_coverage).reasons:
            self.refused += 1
            return None
        self.by_model += 1
        return written


def cited(version: Version) -> Cited:
    return Cited(version.memory_id, version.version, version.trust, version.sensitivity, version.expires_at)


def _told(sentences: Sequence[Candidate]) -> str:
    """Sentences in the order in which they were said, each with who said it."""
    ordered = sorted(sentences, key=lambda sentence: sentence.order)
    return " ".join(f"{s.speaker}: {s.text}" if s.speaker else s.text for s in ordered)


def _title(speakers: Sequence[str], first: Version, last: Version) -> str:
    """Who spoke, and when."""
    begin, end = f"{first.created_at:%Y-%m-%d}", f"{last.created_at:%Y-%m-%d}"
    names = ", ".join(dict.fromkeys(name for name in speakers if name))
    return f"{names}, {begin if begin == end else f'{begin} to {end}'}"


def _place(external_id: str) -> tuple[str, int]:
    """Episodes of a session in the order of its topics."""
    session, _, number = external_id.rpartition("/")
    return session, int(number)
