"""Pure decisions of governance: reputation, suspicion, calling policies, retention, token buckets, sharing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos.errors import Invalid
from memos.rules import calling_policy, retention, sharing
from memos.rules.access import (
    ALL_SCOPES,
    LABELS,
    QUARANTINE,
    TOP_CLEARANCE,
    Calling,
    Operation,
    Principal,
    Scope,
    rank,
)
from memos.rules.header import Draft, Kind
from memos.rules.injection import Finding
from memos.rules.reputation import DISTRUSTED_BELOW, Reputation, after_review, after_writes, aged
from memos.rules.retention import Class, due
from memos.rules.suspicion import STAMP, class_of, judge
from memos.rules.token_bucket import Bucket, retry_after_s, take
from memos.rules.trust import TrustClass

NOW = datetime(2026, 11, 1, tzinfo=UTC)
KEY, OTHER = UUID(int=1), UUID(int=2)
writes = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5), st.integers(0, 72)), max_size=12)


def who(**fields: object) -> Principal:
    return Principal(UUID(int=9), "t", KEY, ALL_SCOPES, **fields)  # type: ignore[arg-type]


def lived(history: list[tuple[int, int, int]]) -> Reputation:
    known = Reputation(NOW)
    for clean, suspicious, hours in history:
        known = after_writes(known, known.updated_at + timedelta(hours=hours), clean=clean, suspicious=suspicious)
    return known


# ---------------------------------------------------------------- reputation


@given(writes)
def test_a_reputation_is_a_probability_and_factors_never_raise_trust(history: list[tuple[int, int, int]]) -> None:
    known = lived(history)
    assert 0.0 < known.mean < 1.0
    assert 0.0 < known.recent_mean < 1.0
    assert 0.0 < known.factor <= 1.0


@given(writes, st.integers(1, 10))
def test_more_suspicion_never_helps_and_clean_writes_never_hurt(history: list[tuple[int, int, int]], n: int) -> None:
    known = lived(history)
    now = known.updated_at
    assert after_writes(known, now, clean=0, suspicious=n).mean <= known.mean
    assert after_writes(known, now, clean=n, suspicious=0).mean >= known.mean
    assert after_review(known, now, released=False).mean <= known.mean


@given(writes)
def test_who_does_nothing_wrong_is_never_distrusted(history: list[tuple[int, int, int]]) -> None:
    assert not lived([(clean, 0, hours) for clean, _, hours in history]).distrusted


@given(writes, st.integers(1, 4_000))
def test_with_time_everything_is_forgiven(history: list[tuple[int, int, int]], days: int) -> None:
    known = lived(history)
    later = aged(known, known.updated_at + timedelta(days=days))
    assert later.bad <= known.bad
    assert not aged(known, known.updated_at + timedelta(days=4_000)).distrusted


def test_a_sudden_turn_is_an_anomaly_and_passes_within_days() -> None:
    good = after_writes(Reputation(NOW - timedelta(days=10)), NOW - timedelta(days=3), clean=500, suspicious=0)
    assert not good.anomalous
    bad = after_writes(good, NOW, clean=0, suspicious=8)
    assert bad.anomalous
    assert bad.mean > DISTRUSTED_BELOW
    assert not aged(bad, NOW + timedelta(days=2)).anomalous
    assert not after_writes(good, NOW, clean=0, suspicious=3).anomalous


@given(st.integers(1, 6))
def test_a_release_takes_back_what_the_write_had_counted(n: int) -> None:
    before = after_writes(Reputation(NOW), NOW, clean=0, suspicious=n)
    after = before
    for _ in range(n):
        after = after_review(after, NOW, released=True)
    assert after.bad == 0.0
    assert after.mean > Reputation(NOW).mean


# ---------------------------------------------------------------- suspicion


@given(st.floats(0, 0.99), st.sampled_from(list(TrustClass)), writes)
def test_the_stamp_never_exceeds_the_class_and_the_operator_is_believed(
    score: float, trust_class: TrustClass, history: list[tuple[int, int, int]]
) -> None:
    found = judge(Finding(score, ("x",)), trust_class, lived(history))
    assert 0.0 <= found.trust <= STAMP[trust_class]
    if trust_class is TrustClass.OPERATOR:
        assert (found.trust, found.quarantined) == (1.0, False)
    if lived(history).distrusted and trust_class is not TrustClass.OPERATOR:
        assert found.quarantined


@pytest.mark.parametrize(
    ("kind", "role", "source", "operator", "expected"),
    [
        (Kind.TURN, "user", None, True, TrustClass.USER),
        (Kind.TURN, "system", None, True, TrustClass.OPERATOR),
        (Kind.TURN, "system", None, False, TrustClass.USER),
        (Kind.TURN, "tool", None, True, TrustClass.TOOL),
        (Kind.FACT, None, None, True, TrustClass.USER),
        (Kind.PASSAGE, None, "manual.pdf", True, TrustClass.DOCUMENT),
        (Kind.PASSAGE, None, "HTTPS://a.example", True, TrustClass.WEB),
    ],
)
def test_an_operators_key_is_believed_only_where_it_speaks_for_itself(
    kind: Kind, role: str | None, source: str | None, operator: bool, expected: TrustClass
) -> None:
    assert class_of(Draft(kind, "x", NOW, role=role, source=source), operator=operator) is expected


# ---------------------------------------------------------------- calling policies


def test_labels_are_ranked_and_quarantine_is_above_them() -> None:
    assert [rank(label) for label in LABELS] == [0, 1, 2, 3]
    assert rank("a label of later days") == TOP_CLEARANCE
    assert rank("public", quarantined=True) == QUARANTINE > TOP_CLEARANCE


rules_ = st.fixed_dictionaries(
    {},
    optional={
        "effect": st.sampled_from(["allow", "deny"]),
        "keys": st.lists(st.sampled_from([str(KEY), str(OTHER)]), min_size=1, max_size=2),
        "operations": st.lists(st.sampled_from(["recall", "read", "write"]), min_size=1, max_size=3),
        "purposes": st.lists(st.sampled_from(["support", "billing", "*", "-"]), min_size=1, max_size=3),
        "clearance": st.sampled_from([label.value for label in LABELS]),
    },
)
callings = st.builds(Calling, st.sampled_from(list(Operation)), st.sampled_from([None, "support", "other"]))


@given(st.lists(rules_, max_size=6), callings, st.integers(0, TOP_CLEARANCE))
def test_the_first_rule_that_fits_decides_and_nothing_raises_a_clearance(
    given_rules: list[dict[str, object]], calling: Calling, clearance: int
) -> None:
    access = calling_policy.parse({"rules": given_rules})
    caller = who(calling=calling, clearance=clearance)
    verdict = calling_policy.decide(access, caller)
    assert verdict.clearance <= clearance
    fitting = [place for place, rule in enumerate(access.rules, start=1) if rule.fits(caller)]
    assert verdict.rule == (fitting[0] if fitting else 0)
    if not fitting:
        assert verdict.allowed


@given(st.lists(rules_, max_size=4), callings)
def test_what_stands_behind_a_rule_that_fits_all_means_nothing(
    rules: list[dict[str, object]], calling: Calling
) -> None:
    closed = calling_policy.parse({"rules": [{"effect": "deny"}, *rules]})
    assert not calling_policy.decide(closed, who(calling=calling)).allowed


# ---------------------------------------------------------------- sharing


def test_a_guest_never_has_more_than_the_grant_or_than_it_had() -> None:
    for ability in sharing.Ability:
        for scopes in (ALL_SCOPES, frozenset({Scope.READ}), frozenset({Scope.WRITE}), frozenset[Scope]()):
            host = Principal(UUID(int=3), "them", KEY, scopes, operator=True)
            guest = sharing.guest(
                host, tenant_id=UUID(int=4), tenant_name="us", cube_id=OTHER, grant_id=KEY, ability=ability
            )
            assert guest.scopes <= scopes & {Scope.READ, Scope.WRITE}
            assert (Scope.WRITE in guest.scopes) <= (ability is sharing.Ability.WRITE)
            assert guest.cube_ids == {OTHER}
            assert not guest.operator
            assert not guest.may_reach(KEY)


def test_abilities_nest_and_what_is_unknown_is_not_shared() -> None:
    assert sharing.abilities_for("search") == ("recall", "read", "write")
    assert sharing.abilities_for("get_memory") == ("read", "write")
    assert sharing.abilities_for("add_memories") == ("write",)
    for operation in ("update_cube", "delete_cube", "forget", "rollback", "create_grant", "search_all", "of tomorrow"):
        assert sharing.abilities_for(operation) == ()


# ---------------------------------------------------------------- retention


classes_ = st.builds(
    Class,
    st.just("c"),
    st.integers(1, 400).map(lambda days: timedelta(days=days)),
    st.sampled_from(["erase", "expire"]),
    st.frozensets(st.sampled_from(["turn", "fact"])),
    st.frozensets(st.sampled_from(["a", "b"])),
    st.frozensets(st.sampled_from(["normal", "secret"])),
)


@given(
    st.lists(classes_, max_size=5), st.sampled_from(["turn", "fact"]), st.lists(st.sampled_from(["a", "b", "c"])),
    st.sampled_from(["normal", "secret"]), st.integers(0, 500),
)  # fmt: skip
def test_what_is_over_stays_over_and_the_shortest_class_rules(
    classes: list[Class], kind: str, tags: list[str], label: str, days: int
) -> None:
    def ends(after: int) -> Class | None:
        return due(classes, kind=kind, tags=tags, sensitivity=label, written_at=NOW, now=NOW + timedelta(days=after))

    found = ends(days)
    holding = [one for one in classes if one.holds(kind, tags, label)]
    assert (found is not None) == any(one.max_age <= timedelta(days=days) for one in holding)
    if found is not None:
        assert found.max_age == min(one.max_age for one in holding)
        assert ends(days + 1) == found


@pytest.mark.parametrize(
    "given_",
    [{}, [1], [{}], [{"max_age_days": 0}], [{"max_age_days": True}], [{"max_age_days": 1, "then": "burn"}],
     [{"max_age_days": 1, "kinds": ["opinion"]}], [{"max_age_days": 1, "tags": "a"}], [{"max_age_days": 1, "x": 1}],
     [{"max_age_days": float("nan")}], [{"max_age_days": 1, "name": 7}], [{"max_age_days": 1}] * 33],
)  # fmt: skip
def test_a_retention_that_means_nothing_is_refused(given_: object) -> None:
    with pytest.raises(Invalid):
        retention.parse(given_)


# ---------------------------------------------------------------- token buckets


@given(st.floats(0.1, 50), st.integers(1, 20), st.lists(st.floats(0, 2), min_size=1, max_size=60))
def test_a_bucket_never_gives_more_than_rate_and_burst(rate: float, burst: int, gaps: list[float]) -> None:
    bucket: Bucket | None = None
    now, taken = 0.0, 0
    for gap in gaps:
        now += gap
        bucket, wait_s = take(bucket, rate, burst, now)
        taken += wait_s == 0.0
        assert wait_s >= 0.0
        assert 0.0 <= bucket.tokens <= burst
        if wait_s > 0.0:
            _, after = take(bucket, rate, burst, now + wait_s + 1e-6)
            assert after == 0.0
            assert retry_after_s(wait_s) >= wait_s
    assert taken <= burst + rate * sum(gaps[1:]) + 1e-6
