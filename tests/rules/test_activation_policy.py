"""The activation part of a policy: what is understood, what is refused, and how long a plan may get."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memos.errors import Invalid
from memos.rules import activation_policy, policy
from memos.rules.activation_policy import BUDGET_TOKENS_MAX, CODEC_NAMES, Activation, parse, usable_tokens

SECTIONS = st.fixed_dictionaries(
    {},
    optional={
        "kv": st.booleans(),
        "budget_tokens": st.integers(64, BUDGET_TOKENS_MAX),
        "codecs": st.lists(st.sampled_from(CODEC_NAMES), min_size=1, max_size=4),
    },
)


@given(given_=SECTIONS)
@settings(deadline=None, max_examples=50)
def test_what_is_said_is_what_is_meant(given_: dict[str, Any]) -> None:
    found = parse({"activation": given_})
    for name, value in given_.items():
        assert getattr(found, name) == (tuple(value) if name == "codecs" else value)
    for name in {"kv", "budget_tokens", "codecs"} - set(given_):
        assert getattr(found, name) == getattr(Activation(), name)
    policy.parse({"activation": given_})


@pytest.mark.parametrize(
    "wrong",
    [
        1, [], "kv", {"kv": 1}, {"kv": None}, {"budget_tokens": 63}, {"budget_tokens": True}, {"budget_tokens": 1e3},
        {"codecs": "int8"}, {"codecs": []}, {"codecs": ["gzip"]}, {"codecs": [["int8"]]}, {"codecs": ["raw"] * 5}, {"on": True},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_with_its_place(wrong: Any) -> None:
    for parse_it in (activation_policy.parse, policy.parse):
        with pytest.raises(Invalid) as caught:
            parse_it({"activation": wrong})
        assert caught.value.extra["errors"][0]["where"][:3] == ["body", "policy", "activation"]


@given(
    asked=st.none() | st.integers(64, BUDGET_TOKENS_MAX),
    budget=st.integers(64, BUDGET_TOKENS_MAX),
    most=st.none() | st.integers(256, 10**6),
)
@settings(deadline=None, max_examples=100)
def test_a_plan_leaves_room_for_an_answer(asked: int | None, budget: int, most: int | None) -> None:
    tokens = usable_tokens(asked, Activation(budget_tokens=budget), most)
    assert tokens <= (budget if asked is None else asked)
    assert most is None or tokens <= most - most // 4
