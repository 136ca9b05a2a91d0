"""What every embedder promises, asked of the real ones and of the fake alike."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from memos.encoders.embedder import Embedder

SENTENCES = [
    "Ruth sold the blue bicycle to a neighbour last June.",
    "Pavel: the kiln at the pottery studio cracked again, so we postponed the class!",
    "ok",
    "Where did Ines leave her hiking boots?",
    "In March the ferry to the island runs only on Sundays, and one has to book it by telephone before Friday noon.",
    "Ruth sold her blue bike.",
]
ODD_TEXTS = {
    "empty": "",
    "spaces": " \t\n\u00a0 ",
    "emoji": "😀👩‍👩‍👧‍👦🇨🇿",
    "chinese": "我昨天在图书馆丢了钥匙",
    "japanese": "昨日、図書館で鍵をなくしました",
    "korean": "어제 도서관에서 열쇠를 잃어버렸어요",
    "arabic": "فقدت مفاتيحي في المكتبة أمس",
    "thai": "เมื่อวานฉันทำกุญแจหาย",
    "NUL": "before\x00after",
    "only NUL": "\x00",
    "lone surrogate": "half \ud83d of a face",
    "only a lone surrogate": "\udfff",
    "combining marks": "e" + "\u0301" * 5_000,
    "control characters": "\x01\x1b[31m\u202e",
    "one endless word": "x" * 50_000,
    "noncharacter": "\uffff\U0010ffff",
    "marks of the model": "[CLS] [SEP] [MASK] [PAD] <s>",
}


def test_shape_type_and_length_of_vectors(embedder: Embedder) -> None:
    vectors = embedder.embed(SENTENCES)

    assert vectors.shape == (len(SENTENCES), embedder.dimensions)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)


def test_no_texts_give_no_vectors(embedder: Embedder) -> None:
    vectors = embedder.embed([])

    assert vectors.shape == (0, embedder.dimensions)
    assert vectors.dtype == np.float32


def test_the_same_text_gives_the_same_vector(embedder: Embedder) -> None:
    assert np.array_equal(embedder.embed(SENTENCES), embedder.embed(SENTENCES))


def test_a_vector_does_not_depend_on_the_rest_of_the_batch(embedder: Embedder) -> None:
    crowd = [*SENTENCES, "", "a much longer neighbour " * 80, "🙂", *SENTENCES[::-1]]

    alone = np.concatenate([embedder.embed([text]) for text in crowd])
    together = embedder.embed(crowd)

    cosines = (alone * together).sum(axis=1)
    assert cosines.min() > 0.99999


def test_rows_follow_the_order_of_the_texts(embedder: Embedder) -> None:
    forward, backward = embedder.embed(SENTENCES), embedder.embed(SENTENCES[::-1])

    assert np.allclose(forward, backward[::-1], atol=1e-5)


def test_a_paraphrase_is_nearer_than_other_sentences(embedder: Embedder) -> None:
    vectors = embedder.embed(SENTENCES)

    similarities = vectors[-1] @ vectors[:-1].T

    assert similarities.argmax() == 0


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_any_string_has_a_vector_and_a_token_count(embedder: Embedder, text: str) -> None:
    [vector] = embedder.embed([text])

    assert np.isfinite(vector).all()
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)
    starts = embedder.token_starts(text)
    assert embedder.count_tokens(text) == len(starts)
    assert starts == sorted(starts)
    assert all(0 <= start < len(text) for start in starts)
    # The odd text must not disturb what stands beside it.
    assert np.allclose(embedder.embed([SENTENCES[0], text])[0], embedder.embed(SENTENCES[:1])[0], atol=1e-5)


def test_tokens_are_counted_over_the_whole_text_without_marks(embedder: Embedder) -> None:
    assert embedder.count_tokens("") == 0
    assert embedder.count_tokens("Nora met Pavel") == 3
    assert embedder.count_tokens("tree " * 1_000) == 1_000
    assert embedder.token_starts("Nora met Pavel") == [0, 5, 9]
    assert embedder.token_starts("tree " * 20_000) == list(range(0, 100_000, 5))


def test_a_long_text_has_the_vector_of_its_first_tokens(embedder: Embedder) -> None:
    kept = "river " * embedder.max_tokens

    [short, long, very_long] = embedder.embed([kept, kept + "stone", kept + "the stone fell " * 50_000])

    assert embedder.count_tokens(kept) == embedder.max_tokens
    assert np.allclose(short, long, atol=1e-5)
    assert np.allclose(short, very_long, atol=1e-5)


def test_the_last_token_that_counts_does_count(embedder: Embedder) -> None:
    kept = "river " * (embedder.max_tokens - 1)

    [one, other] = embedder.embed([kept + "stone", kept + "piano"])

    assert not np.allclose(one, other, atol=1e-4)


def test_eight_threads_get_what_one_gets(embedder: Embedder) -> None:
    expected = np.concatenate([embedder.embed([text]) for text in SENTENCES])
    order = list(range(len(SENTENCES))) * 8

    with ThreadPoolExecutor(8) as threads:
        counts = threads.map(embedder.count_tokens, [SENTENCES[index] for index in order])
        vectors = threads.map(lambda index: embedder.embed([SENTENCES[index]])[0], order)

    assert np.allclose(list(vectors), expected[order], atol=1e-6)
    assert list(counts) == [embedder.count_tokens(SENTENCES[index]) for index in order]


def test_an_embedder_names_itself_and_its_vector_space(embedder: Embedder) -> None:
    assert embedder.name
    assert len(embedder.fingerprint) == 64
    assert int(embedder.fingerprint, 16) > 0
