"""A cube's policy: every knob of the rules can be set, nothing else can, and what differs has a version of its own."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from memos.errors import Invalid
from memos.rules import forgetting, promotion
from memos.rules.policy import _FORGET, _PROMOTE, CubePolicy, Forget, Promote, parse


def test_nothing_said_means_the_defaults() -> None:
    assert parse({}) == CubePolicy()
    assert parse({"forget": {}, "promote": {}}) == CubePolicy()


def test_every_knob_of_the_rules_can_be_set() -> None:
    for checks, section, rule in ((_FORGET, Forget, forgetting.Policy), (_PROMOTE, Promote, promotion.ValueDensity)):
        own = {f.name for f in fields(section)} - {"rule"}
        knobs = {f.name for f in fields(rule)} - {"version"}
        assert set(checks) == own | knobs


def test_what_is_said_takes_effect() -> None:
    policy = parse(
        {
            "forget": {"enabled": False, "max_memories": 10, "kind_weight": {"turn": 9}, "pin_tags": ["keep", "vip"]},
            "promote": {"budget_bytes": 5, "margin": 2},
            "refuse_erased": True,
            "extraction": {"enabled": False},
        }
    )
    assert not policy.forget.enabled
    assert policy.forget.pin_tags == ("keep", "vip")
    assert policy.forget.rule.max_memories == 10
    assert policy.forget.rule.kind_weight == {**forgetting.Policy().kind_weight, "turn": 9}
    assert (policy.promote.budget_bytes, policy.promote.rule.margin) == (5, 2)
    assert policy.refuse_erased


def test_the_version_tells_whether_and_how_the_rule_differs() -> None:
    plain = forgetting.Policy().version
    assert parse({"forget": {"archive_below": 0.5, "enabled": False, "pin_tags": ["x"]}}).forget.rule.version == plain
    first = parse({"forget": {"archive_below": 0.4}}).forget.rule.version
    second = parse({"forget": {"archive_below": 0.3}}).forget.rule.version
    assert first.startswith(f"{plain}+")
    assert len({plain, first, second}) == 3
    assert parse({"forget": {"archive_below": 0.4, "priority_weight": 1.0}}).forget.rule.version == first


@pytest.mark.parametrize(
    ("policy", "place"),
    [
        ({"forgett": {}}, ["forgett"]),
        ({"forget": []}, ["forget"]),
        ({"forget": {"half_life": 3}}, ["forget", "half_life"]),
        ({"forget": {"version": "mine"}}, ["forget", "version"]),
        ({"forget": {"archive_below": 1.1}}, ["forget", "archive_below"]),
        ({"forget": {"archive_below": "0.4"}}, ["forget", "archive_below"]),
        ({"forget": {"archive_below": True}}, ["forget", "archive_below"]),
        ({"forget": {"archive_below": 0.7}}, ["forget", "restore_above"]),
        ({"forget": {"max_memories": 0}}, ["forget", "max_memories"]),
        ({"forget": {"max_memories": 1.5}}, ["forget", "max_memories"]),
        ({"forget": {"protect_recalls": 9}}, ["forget", "protect_recalls"]),
        ({"forget": {"kind_weight": {"dream": 1}}}, ["forget", "kind_weight"]),
        ({"forget": {"pin_tags": "pinned"}}, ["forget", "pin_tags"]),
        ({"promote": {"budget_bytes": None}}, ["promote", "budget_bytes"]),
        ({"refuse_erased": "yes"}, ["refuse_erased"]),
        ({"extraction": {"admission": 7}}, ["extraction", "admission"]),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(policy: dict[str, Any], place: list[str]) -> None:
    with pytest.raises(Invalid) as refused:
        parse(policy)
    assert refused.value.extra["errors"][0]["where"] == ["body", "policy", *place]
