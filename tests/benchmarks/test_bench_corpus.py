from __future__ import annotations

import itertools
from collections import Counter

import pytest

from benchmarks.corpus import SESSION, Questions, edited, memories, memory


def test_a_memory_is_a_function_of_seed_and_number() -> None:
    whole = list(memories("a", 50))
    assert list(memories("a", 20, first=30)) == whole[30:]
    assert memory("a", 7) == whole[7]
    assert memory("b", 7).content != whole[7].content


def test_messages_carry_what_filters_and_time_need() -> None:
    first, last = memory("a", 0), memory("a", SESSION - 1)
    assert first.session_id == last.session_id != memory("a", SESSION).session_id
    assert first.message()["metadata"] == {"topic": first.topic}
    assert first.created_at < last.created_at < memory("a", SESSION).created_at
    assert first.speaker == last.speaker == first.message()["name"]


def test_words_follow_a_long_tailed_law() -> None:
    texts = [one.content for one in memories("a", 2_000)]
    assert len(set(texts)) == len(texts)
    documents = Counter(word for text in texts for word in set(text.lower().split()))
    once = sum(count == 1 for count in documents.values())
    assert once > len(documents) / 2
    assert documents.most_common(1)[0][1] > len(texts) / 2
    topics = Counter(one.topic for one in memories("a", 2_000))
    assert len(topics) == 20
    assert topics.most_common()[0][1] > 5 * topics.most_common()[-1][1]


def test_every_slot_is_filled() -> None:
    for one in memories("a", 300):
        assert "{" not in one.content + one.question


def test_questions_never_repeat() -> None:
    questions = Questions("a", 500)
    taken = [*questions.take(100), *questions.take(100)]
    assert len(set(taken)) == 200
    assert Questions("a", 500).take(100) == taken[:100]
    with pytest.raises(ValueError, match="distinct"):
        Questions("a", 1).take(2)


def test_edits_differ_from_each_other() -> None:
    original = memory("a", 3)
    texts = [original.content, *(edited(original, version) for version in range(1, 21))]
    assert all(left != right for left, right in itertools.combinations(texts, 2))
