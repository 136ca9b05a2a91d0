"""A cube's policy: how it treats its memories. Every part may be absent, and then means the defaults here.

    {"forget":        {"enabled": true, "archive_below": 0.5, "max_memories": null, "pin_tags": ["pinned"], ...},
     "promote":       {"enabled": true, "budget_bytes": 268435456, "min_recalls": 3.0, ...},
     "extraction":    {...}, "consolidation": {...},          # see derivation_policy
     "activation":    {"kv": false, ...},                     # see activation_policy
     "refuse_erased": false,
     "trace_sample":  1.0,
     "audit_reads":   "sensitive",
     "access":        {...},                                  # see calling_policy
     "retention":     [...]}                                  # see retention

A policy is checked when it is set, and refused with the place and the reason: a misspelt wish must not look granted.
`version` names a policy in the log of decisions: that of the defaults, and a digest of what differs from them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, TypeVar

from memos.errors import Invalid
from memos.rules import activation_policy, calling_policy, derivation_policy, forgetting, promotion, retention
from memos.rules.header import Kind, canonical
from memos.rules.strength import STABILITY_MAX_DAYS

WHERE: Final = ("body", "policy")
SECTIONS: Final = ("forget", "promote", "extraction", "consolidation", "activation", "refuse_erased", "trace_sample",
                   "audit_reads", "access", "retention")  # fmt: skip
_MOST_TAGS = 32
# What a 32-bit count or a file system can mean; beyond it a number is a slip.
_MOST = 2**53

Check = Callable[[Any], str]
Rule = TypeVar("Rule", forgetting.Policy, promotion.ValueDensity)


@dataclass(frozen=True, slots=True)
class Forget:
    """Whether and how the cube forgets. A memory that carries one of `pin_tags` is never archived or evicted. `look_back`:
    a search that stays unsure looks at what has faded, too."""

    enabled: bool = True
    look_back: bool = True
    pin_tags: tuple[str, ...] = ("pinned",)
    rule: forgetting.Policy = field(default_factory=forgetting.Policy)


@dataclass(frozen=True, slots=True)
class Promote:
    """Whether and how candidates for the activation tier are chosen.

    A memory's size there is its tokens times `bytes_per_token`: by default what SmolLM2-135M keeps at fp32.
    """

    enabled: bool = True
    budget_bytes: int = 256 * 2**20
    bytes_per_token: int = 46_080
    rule: promotion.ValueDensity = field(default_factory=promotion.ValueDensity)


@dataclass(frozen=True, slots=True)
class CubePolicy:
    forget: Forget = field(default_factory=Forget)
    promote: Promote = field(default_factory=Promote)
    refuse_erased: bool = False
    """Whether what was erased may not come back: its keyed hash is kept, and a write that holds it is refused (409)."""
    trace_sample: float = 1.0
    """Share of the searches and contexts that leave a trace."""


def parse(policy: Mapping[str, Any]) -> CubePolicy:
    """Raise `Invalid`, with the place, for anything unknown, of the wrong type or out of range."""
    for name in policy:
        if name not in SECTIONS:
            raise Invalid(
                f"unknown part {_shown(name)} of a policy; known: {', '.join(SECTIONS)}", where=[*WHERE, name]
            )
    derivation_policy.check(policy)
    activation_policy.parse(policy)
    refuse = policy.get("refuse_erased", False)
    _require(_flag(refuse), "refuse_erased")
    sample = policy.get("trace_sample", 1.0)
    _require(_number(0, 1)(sample), "trace_sample")
    if policy.get("audit_reads", "sensitive") not in ("off", "sensitive", "all"):
        _require("must be 'off', 'sensitive' or 'all'", "audit_reads")
    calling_policy.parse(policy.get("access", {}))
    retention.parse(policy.get("retention", []))
    return CubePolicy(_forget(_section(policy, "forget")), _promote(_section(policy, "promote")), refuse, float(sample))


# ---------------------------------------------------------------- sections


def _forget(given: Mapping[str, Any]) -> Forget:
    own, rule = _split(given, "forget", _FORGET, forgetting.Policy())
    if rule.restore_above < rule.archive_below:
        raise Invalid(
            "policy.forget.restore_above must not be below archive_below: memories would flap between the two",
            where=[*WHERE, "forget", "restore_above"],
        )
    if "pin_tags" in own:
        own["pin_tags"] = tuple(own["pin_tags"])
    return Forget(rule=rule, **own)


def _promote(given: Mapping[str, Any]) -> Promote:
    own, rule = _split(given, "promote", _PROMOTE, promotion.ValueDensity())
    return Promote(rule=rule, **own)


def _split(
    given: Mapping[str, Any], section: str, checks: Mapping[str, Check], rule: Rule
) -> tuple[dict[str, Any], Rule]:
    """The section's own fields, and the rule with the rest, its version saying whether anything differs."""
    for name, value in given.items():
        if name not in checks:
            raise Invalid(
                f"unknown part {_shown(name)} of policy.{section}; known: {', '.join(checks)}",
                where=[*WHERE, section, str(name)],
            )
        _require(checks[name](value), section, name)
    settable = {f.name for f in fields(rule)} - {"version"}
    changed = {n: v for n, v in given.items() if n in settable and v != getattr(rule, n)}
    own = {n: v for n, v in given.items() if n not in settable}
    if not changed:
        return own, rule
    if "kind_weight" in changed:
        changed["kind_weight"] = {**getattr(rule, "kind_weight", {}), **changed["kind_weight"]}
    digest = hashlib.sha256(canonical(changed)).hexdigest()[:8]
    return own, replace(rule, **changed, version=f"{rule.version}+{digest}")


def _section(policy: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    given = policy.get(name, {})
    if not isinstance(given, Mapping):
        raise Invalid(f"policy.{name} must be an object", where=[*WHERE, name])
    return given


def _require(problem: str, *place: str) -> None:
    if problem:
        raise Invalid(f"policy.{'.'.join(place)} {problem}", where=[*WHERE, *place])


def _shown(name: object) -> str:
    return repr(str(name)[:100])


# ---------------------------------------------------------------- values


def _flag(value: object) -> str:
    return "" if isinstance(value, bool) else "must be true or false"


def _number(low: float, high: float) -> Check:
    def check(value: object) -> str:
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return "" if number and low <= float(value) <= high else f"must be a number from {low:g} to {high:g}"  # type: ignore[arg-type]

    return check


def _whole(low: int, high: int = _MOST, *, optional: bool = False) -> Check:
    def check(value: object) -> str:
        if value is None and optional:
            return ""
        whole = isinstance(value, int) and not isinstance(value, bool)
        return "" if whole and low <= value <= high else f"must be a whole number from {low} to {high}"  # type: ignore[operator]

    return check


def _tags(value: object) -> str:
    fine = isinstance(value, list | tuple) and len(value) <= _MOST_TAGS and all(isinstance(t, str) and t for t in value)
    return "" if fine else f"must be a list of at most {_MOST_TAGS} tags"


def _kind_weights(value: object) -> str:
    known = {kind.value for kind in Kind}
    weight = _number(0, 100)
    fine = isinstance(value, Mapping) and all(name in known and not weight(w) for name, w in value.items())
    return "" if fine else f"must give numbers from 0 to 100 to any of {', '.join(sorted(known))}"


_FORGET: Final[Mapping[str, Check]] = {
    "enabled": _flag,
    "look_back": _flag,
    "pin_tags": _tags,
    "archive_below": _number(0, 1),
    "room": _whole(0),
    "restore_above": _number(0, 1),
    "priority_weight": _number(0, 10),
    "trust_weight": _number(0, 10),
    # Usage keeps the last eight recalls; asking for more would protect nothing.
    "protect_recalls": _whole(1, 8),
    "protect_window_days": _whole(1, int(STABILITY_MAX_DAYS)),
    "max_memories": _whole(1, optional=True),
    "max_bytes": _whole(1, optional=True),
    "kind_weight": _kind_weights,
}
_PROMOTE: Final[Mapping[str, Check]] = {
    "enabled": _flag,
    "budget_bytes": _whole(0),
    "bytes_per_token": _whole(1),
    "min_recalls": _number(0, 1_000_000),
    "min_age_days": _number(0, STABILITY_MAX_DAYS),
    "max_edits_per_week": _number(0.001, 1_000_000),
    "margin": _number(1, 1_000),
    "cold_days": _number(0, STABILITY_MAX_DAYS),
}
