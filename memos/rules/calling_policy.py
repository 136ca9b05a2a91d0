"""Whether a cube answers a call: who, does what, in which calling context.

    "access": {"above_clearance": "redact",
               "rules": [{"purposes": ["support"], "clearance": "normal"},
                         {"keys": ["019d..."], "operations": ["write"], "effect": "deny"},
                         {"purposes": ["*"], "effect": "deny"}]}

The first rule that fits decides; when none does, the call is allowed with what its key may see. A rule fits when every
part it names fits: `keys`, `operations` (recall, read, write) and `purposes`, where `*` is any named purpose and `-` a
call that names none. `clearance` lowers what may be read, never raises it. `above_clearance` says what becomes of a
memory more secret than that where its absence would be noticed: `redact` shows that it is there, `hide` does not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from memos.errors import Invalid
from memos.rules.access import LABELS, TOP_CLEARANCE, Operation, Principal
from memos.rules.header import Sensitivity

WHERE: Final = ("body", "policy", "access")
MOST_RULES: Final = 64
MOST_NAMED: Final = 64
ANY_PURPOSE, NO_PURPOSE = "*", "-"
PURPOSE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
_PARTS: Final = ("effect", "keys", "operations", "purposes", "clearance")


@dataclass(frozen=True, slots=True)
class Rule:
    """None of a part means that it does not matter."""

    allows: bool = True
    keys: frozenset[UUID] | None = None
    operations: frozenset[Operation] | None = None
    purposes: frozenset[str] | None = None
    clearance: int = TOP_CLEARANCE

    def fits(self, who: Principal) -> bool:
        calling = who.calling
        if self.keys is not None and who.key_id not in self.keys:
            return False
        if self.operations is not None and calling.operation not in self.operations:
            return False
        if self.purposes is None:
            return True
        named = NO_PURPOSE if calling.purpose is None else calling.purpose
        return named in self.purposes or (calling.purpose is not None and ANY_PURPOSE in self.purposes)


@dataclass(frozen=True, slots=True)
class Access:
    rules: tuple[Rule, ...] = ()
    hides: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """`rule` is the place of the rule that decided, from 1; 0 when none did."""

    allowed: bool
    clearance: int
    rule: int


def decide(access: Access, who: Principal) -> Verdict:
    """The first rule that fits, else what the key may see by itself."""
    for place, rule in enumerate(access.rules, start=1):
        if rule.fits(who):
            return Verdict(rule.allows, min(rule.clearance, who.clearance), place)
    return Verdict(True, who.clearance, 0)


def parse(given: object) -> Access:
    """Raise `Invalid`, with the place, for anything that is no such section."""
    if not isinstance(given, Mapping):
        raise _invalid("must be an object")
    if unknown := sorted(str(name)[:50] for name in set(given) - {"above_clearance", "rules"}):
        raise _invalid(f"has no part {unknown[0]!r}; known: above_clearance, rules", str(unknown[0]))
    above = given.get("above_clearance", "redact")
    if above not in ("redact", "hide"):
        raise _invalid("must be 'redact' or 'hide'", "above_clearance")
    rules = given.get("rules", [])
    if not isinstance(rules, list) or len(rules) > MOST_RULES:
        raise _invalid(f"must be a list of at most {MOST_RULES} rules", "rules")
    return Access(tuple(_rule(rule, place) for place, rule in enumerate(rules)), above == "hide")


def _rule(given: object, place: int) -> Rule:
    at = ("rules", str(place))
    if not isinstance(given, Mapping) or set(given) - set(_PARTS):
        raise _invalid(f"must be an object with any of {', '.join(_PARTS)}", *at)
    effect = given.get("effect", "allow")
    if effect not in ("allow", "deny"):
        raise _invalid("must be 'allow' or 'deny'", *at, "effect")
    clearance = given.get("clearance", Sensitivity.SECRET.value)
    if clearance not in {label.value for label in LABELS}:
        raise _invalid(f"must be one of {', '.join(label.value for label in LABELS)}", *at, "clearance")
    keys, operations, purposes = (_words(given, part, at) for part in ("keys", "operations", "purposes"))
    return Rule(
        allows=effect == "allow",
        keys=None if keys is None else frozenset(_key(word, at) for word in keys),
        operations=None if operations is None else frozenset(_operation(word, at) for word in operations),
        purposes=None if purposes is None else frozenset(_purpose(word, at) for word in purposes),
        clearance=LABELS.index(Sensitivity(clearance)),
    )


def _words(given: Mapping[str, Any], part: str, at: tuple[str, ...]) -> list[str] | None:
    words = given.get(part)
    if words is None:
        return None
    if not isinstance(words, list) or not 0 < len(words) <= MOST_NAMED or not all(isinstance(w, str) for w in words):
        raise _invalid(f"must be a list of 1 to {MOST_NAMED} words", *at, part)
    return words


def _key(word: str, at: tuple[str, ...]) -> UUID:
    try:
        return UUID(word)
    except ValueError:
        raise _invalid("must be ids of keys", *at, "keys") from None


def _operation(word: str, at: tuple[str, ...]) -> Operation:
    if word not in set(Operation):
        raise _invalid(f"must be any of {', '.join(Operation)}", *at, "operations")
    return Operation(word)


def _purpose(word: str, at: tuple[str, ...]) -> str:
    if word not in (ANY_PURPOSE, NO_PURPOSE) and not PURPOSE.fullmatch(word):
        raise _invalid("must be words of letters, digits and '._:-', or '*' or '-'", *at, "purposes")
    return word


def _invalid(problem: str, *place: str) -> Invalid:
    return Invalid(f"policy.{'.'.join(('access', *place))} {problem}", where=[*WHERE, *place])
