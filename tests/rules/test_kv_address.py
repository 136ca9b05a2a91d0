"""Content addresses: equal inputs share keys, any difference parts them, and only from where it stands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memos.errors import Invalid
from memos.rules.kv_address import (
    Match,
    ModelIdentity,
    cache_salt,
    chain,
    chunk_key,
    longest_prefix,
    model_key,
    prompt_cache_key,
    tenant_root,
)
from memos.rules.kv_layout import CHUNK_TOKENS, Group, KVDtype, KVSpec

SECRET = b"a secret of at least sixteen bytes"
FULL = KVSpec.of_layers([None, None], kv_heads=3, head_dim=64, dtype=KVDtype.F32)
MIXED = KVSpec.of_layers([512, None], kv_heads=3, head_dim=64, dtype=KVDtype.F32)
ONLY_SLIDING = KVSpec.of_layers([512], kv_heads=3, head_dim=64, dtype=KVDtype.F32)
IDENTITY = ModelIdentity(
    weights_sha256="w" * 64,
    spec=FULL,
    positions='{"rope_theta":10000}',
    tokenizer_sha256="t" * 64,
    template_sha256="c" * 64,
    engine="transformers-5",
    numerics="sdpa float32 cpu",
)
ROOT = tenant_root(SECRET, tenant_id="t1", share_scope="c1", model=model_key(IDENTITY))

tokens = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=700)


@pytest.mark.parametrize(
    "change",
    [
        {"weights_sha256": "x" * 64},
        {"tokenizer_sha256": "x" * 64},
        {"template_sha256": "x" * 64},
        {"adapter_sha256": "x" * 64},
        {"positions": "{}"},
        {"engine": "transformers-6"},
        {"numerics": "eager float32 cpu"},
        {"spec": MIXED},
        {"spec": replace(FULL, dtype=KVDtype.BF16)},
    ],
)
def test_anything_that_decides_the_bits_changes_every_key(change: dict[str, Any]) -> None:
    other = model_key(replace(IDENTITY, **change))
    assert other != model_key(IDENTITY)
    root = tenant_root(SECRET, tenant_id="t1", share_scope="c1", model=other)
    ids = list(range(600))
    assert not {c.key for c in chain(root, ids)} & {c.key for c in chain(ROOT, ids)}


def test_tenant_scope_and_secret_part_the_roots() -> None:
    def root(secret: bytes = SECRET, tenant: str = "t1", scope: str = "c1") -> bytes:
        return tenant_root(secret, tenant_id=tenant, share_scope=scope, model="m")

    roots = {root(), root(tenant="t2"), root(scope="c2"), root(secret=SECRET + b"!")}
    # The bytes of two fields must not run together: "ab" + "c" is not "a" + "bc".
    roots |= {root(tenant="ab", scope="c"), root(tenant="a", scope="bc")}
    assert len(roots) == 6
    assert all(len(value) == 32 for value in roots)


def test_engine_hints_are_stable_scoped_and_safe_as_header_values() -> None:
    salt = cache_salt(SECRET, tenant_id="t1", share_scope="c1")
    hint = prompt_cache_key(SECRET, tenant_id="t1", share_scope="c1", model="m")
    assert salt == cache_salt(SECRET, tenant_id="t1", share_scope="c1")
    assert salt != cache_salt(SECRET, tenant_id="t2", share_scope="c1")
    assert salt != hint
    assert len(salt) == len(hint) == 64
    assert set(salt + hint) <= set("0123456789abcdef")


def test_a_weak_secret_is_refused() -> None:
    with pytest.raises(Invalid):
        tenant_root(b"short", tenant_id="t", share_scope="c", model="m")


@given(ids=tokens, at=st.integers(0, 699), new=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=100)
def test_editing_a_token_changes_its_chunk_and_every_later_one_only(ids: list[int], at: int, new: int) -> None:
    at %= len(ids)
    edited = [*ids[:at], new, *ids[at + 1 :]]
    for before, after in zip(chain(ROOT, ids), chain(ROOT, edited), strict=True):
        same = before.index < at // CHUNK_TOKENS or ids[at] == new
        assert (before.key == after.key) is same


@given(ids=tokens, more=tokens)
@settings(deadline=None, max_examples=60)
def test_appending_keeps_every_whole_chunk(ids: list[int], more: list[int]) -> None:
    whole = len(ids) // CHUNK_TOKENS
    assert chain(ROOT, ids)[:whole] == chain(ROOT, ids + more)[:whole]


@given(ids=tokens)
@settings(deadline=None, max_examples=60)
def test_a_chain_tiles_its_tokens_and_links_to_its_root(ids: list[int]) -> None:
    chunks = chain(ROOT, ids)
    assert chunks[0].parent == ROOT
    assert [c.parent for c in chunks[1:]] == [c.key for c in chunks[:-1]]
    assert [c.start for c in chunks] == [c.index * CHUNK_TOKENS for c in chunks]
    assert chunks[-1].end == len(ids)


def test_a_chunk_of_zeros_depends_on_how_many() -> None:
    assert len({chunk_key(ROOT, ROOT, [0] * n) for n in range(1, 257)}) == 256


@pytest.mark.parametrize("ids", [[], [0] * 257, [-1], [2**32], ["a"]])
def test_what_is_no_chunk_has_no_key(ids: list[Any]) -> None:
    with pytest.raises(Invalid):
        chunk_key(ROOT, ROOT, ids)


@given(
    n_tokens=st.integers(1, 1500),
    missing=st.sets(st.tuples(st.integers(0, 5), st.sampled_from(list(Group))), max_size=4),
    spec=st.sampled_from([FULL, MIXED, ONLY_SLIDING]),
)
@settings(deadline=None, max_examples=200)
def test_longest_prefix_equals_trying_every_boundary(
    n_tokens: int, missing: set[tuple[int, Group]], spec: KVSpec
) -> None:
    ids = list(range(n_tokens))
    chunks = chain(ROOT, ids)
    groups = [group for group, _ in spec.groups()]
    ready = {c.key: {g for g in groups if (c.index, g) not in missing} for c in chunks}
    best = 0
    for end in [c.end for c in chunks]:
        windows = {Group.FULL: 0, Group.SLIDING: max(0, end - 511)}
        if all(group in ready[c.key] for group in groups for c in chunks if windows[group] < c.end and c.start < end):
            best = end
    match = longest_prefix(ROOT, ids, spec, ready)
    assert match.n_tokens == best
    assert sum(c.n_tokens for c in match.path) == best
    assert all(group in ready[c.key] for group, needed in match.needed.items() for c in needed)


def test_a_stored_tail_is_found_under_a_longer_prompt() -> None:
    plan, question = list(range(600)), [7, 8, 9]
    stored = chain(ROOT, plan)
    ready = {c.key: {Group.FULL} for c in stored}
    tails = {stored[-1].parent: [600 - 512, 200, 3]}
    assert longest_prefix(ROOT, plan + question, FULL, ready).n_tokens == 512
    assert longest_prefix(ROOT, plan + question, FULL, ready, tails).n_tokens == 600
    # The same lengths under other tokens are other keys.
    assert longest_prefix(ROOT, [*plan[:-1], 0, *question], FULL, ready, tails).n_tokens == 512


def test_another_tenant_finds_nothing() -> None:
    ids = list(range(600))
    ready = {c.key: {Group.FULL} for c in chain(ROOT, ids)}
    foreign = tenant_root(SECRET, tenant_id="t2", share_scope="c1", model=model_key(IDENTITY))
    assert longest_prefix(foreign, ids, FULL, ready) == Match()


def test_nothing_stored_or_asked_matches_nothing() -> None:
    assert longest_prefix(ROOT, [], FULL, {}) == Match()
    assert longest_prefix(ROOT, [1, 2], FULL, {}) == Match()
