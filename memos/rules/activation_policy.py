"""How a cube uses the activation tier, as a part of its policy, and as a plan's recipe.

    {"activation": {"kv": false, "budget_tokens": 4096, "codecs": ["int8", "bf16", "raw"]}}

A plan costs nothing and is always to be had. Caches are built only where `kv` says so, or when a plan is promoted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from memos.errors import Invalid

CODEC_NAMES: Final = ("int8", "bf16", "raw", "int4")
"""In order of preference: the smallest whose answers are the same, then what is nearer to exact, then the cold one."""
BUDGET_TOKENS: Final = 4_096
BUDGET_TOKENS_MAX: Final = 32_768
_WHERE: Final = ("body", "policy", "activation")


@dataclass(frozen=True, slots=True)
class Activation:
    """Whether caches are kept for the cube; how long a plan may get; in which codecs, the first admitted one counts."""

    kv: bool = False
    budget_tokens: int = BUDGET_TOKENS
    codecs: tuple[str, ...] = ("int8", "bf16", "raw")


def parse(policy: Mapping[str, Any]) -> Activation:
    """Raises Invalid, with the place, for anything unknown, of the wrong type or out of range."""
    given = policy.get("activation", {})
    if not isinstance(given, Mapping):
        raise Invalid("policy.activation must be an object", where=list(_WHERE))
    for name, value in given.items():
        problem = _CHECKS[name](value) if name in _CHECKS else f"is unknown; known: {', '.join(_CHECKS)}"
        if problem:
            raise Invalid(f"policy.activation.{str(name)[:100]} {problem}", where=[*_WHERE, str(name)[:100]])
    fields = {**given, "codecs": tuple(given["codecs"])} if "codecs" in given else given
    return Activation(**fields)


def usable_tokens(asked: int | None, policy: Activation, model_max: int | None) -> int:
    """Tokens a plan may have: what was asked for or the policy says, leaving a model a quarter of its room to answer."""
    wanted = policy.budget_tokens if asked is None else asked
    return wanted if model_max is None else min(wanted, model_max - model_max // 4)


def _flag(value: object) -> str:
    return "" if isinstance(value, bool) else "must be true or false"


def _tokens(value: object) -> str:
    whole = isinstance(value, int) and not isinstance(value, bool) and 64 <= value <= BUDGET_TOKENS_MAX
    return "" if whole else f"must be a whole number from 64 to {BUDGET_TOKENS_MAX}"


def _codecs(value: object) -> str:
    fine = (
        isinstance(value, list | tuple)
        and 1 <= len(value) <= len(CODEC_NAMES)
        and all(name in CODEC_NAMES for name in value)
    )
    return "" if fine else f"must list some of {', '.join(CODEC_NAMES)}"


_CHECKS: Final[Mapping[str, Callable[[object], str]]] = {"kv": _flag, "budget_tokens": _tokens, "codecs": _codecs}
